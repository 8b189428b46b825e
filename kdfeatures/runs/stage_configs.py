"""The configs of a run's stages, from the run's own: what stands outside `stages` holds for all of them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

# a stage says only what differs: these options are chosen as a whole and replace those outside
WHOLE = ("task", "mapping", "heads", "projection", "mixup", "augmentation", "teachers")
MERGED = ("losses", "trainer", "data", "teacher")  # these are merged with them
PLAIN = ("freeze_below",)


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with the values of `changes`, mappings inside it merged alike.

    >>> merged({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}})
    {'a': {'b': 1, 'c': 3}}
    """
    result = dict(copy.deepcopy(base))
    for key, value in changes.items():
        are_mappings = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if are_mappings else copy.deepcopy(value)
    return result


def stage_config(config: Mapping[str, Any], stage: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of one stage, without stages of its own."""
    result = {**copy.deepcopy(config), "stages": {}}
    for key, value in stage.items():
        if key in (*WHOLE, *PLAIN):
            result[key] = copy.deepcopy(value)
        elif key in MERGED and key in result:  # `kdfeatures cache` has no trainer
            result[key] = merged(result[key], value)
    return result


def configs_of_stages(results: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return name and config of every stage of a finished run, in their order; the run itself where it has none.

    A stage that was run once for each pair of layers has the name of its place in the config, and the layer.
    """
    config = results["config"]
    if not config.get("stages"):
        return [("", dict(config))]
    ran = [stage["name"] for stage in results.get("stages") or []] or list(config["stages"])
    return [(name, stage_config(config, config["stages"][_place(name, config["stages"])])) for name in ran]


def _place(name: str, stages: Mapping[str, Any]) -> str:
    return name if name in stages else name.rpartition("_")[0]
