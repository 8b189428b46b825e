"""A run as a list of stages, each a run config of its own that starts from the student of the stage before.

What stands outside `stages` holds for all of them; a stage says only what differs, and its `losses` are added (see
kdfeatures.runs.stage_configs).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from kdfeatures.config.objective import fixed_pairs
from kdfeatures.errors import UserError, nearest
from kdfeatures.mapping.pairs import LayerPair
from kdfeatures.runs.stage_configs import MERGED, PLAIN, WHOLE, stage_config

# of the stage itself; each_pair: one stage for every mapped pair, with what lies below it frozen; born_again: the
# student of the stage before teaches a new one, which begins as the first did, with other random weights
FLAGS = ("each_pair", "born_again")
OF_TRAINED_TEACHER = ("model", "trainer")
SECTIONS = ("mixup", "augmentation")  # which a file of their group makes
KNOWN = (*WHOLE, *MERGED, *PLAIN, *FLAGS)


class Stage(NamedTuple):
    """A stage's name, its run config, whose own stages are empty, and whether it begins a new generation; see FLAGS.

    key: its place under `stages`, which those of an `each_pair` share.
    """

    name: str
    config: dict[str, Any]
    born_again: bool = False
    key: str = ""


def stages_of(config: Mapping[str, Any], depths: Callable[[], tuple[int, int]]) -> list[Stage]:
    """Return the stages of a run config in their order; a config without any is its only stage.

    depths: gives student and teacher layers, for the pairs of a stage with `each_pair`. Raises UserError for a stage
    that says what stages do not know.
    """
    if not config["stages"]:
        return [Stage("", dict(config))]
    stages: list[Stage] = []
    for name, node in config["stages"].items():
        if not isinstance(node, Mapping):
            raise UserError(f"stages.{name}={node} must be a mapping of what differs in this stage, or {{}}.")
        _check(name, node)
        merged = stage_config(config, node)
        born_again = node.get("born_again", False)
        if born_again and not stages:
            raise UserError(f"stages.{name}.born_again=true needs a stage before it, whose student then teaches.")
        if not node.get("each_pair", False):
            stages.append(Stage(name, merged, born_again, name))
            continue
        pairs = fixed_pairs(merged["mapping"], f"stages.{name}.mapping", *depths(), config["allow_targets"])
        stages += [Stage(f"{name}_{pair.student}", _only(merged, pair), key=name) for pair in pairs if pair.student]
    return stages


def _check(name: str, node: Mapping[str, Any]) -> None:
    for key in node:
        if key not in KNOWN:
            raise UserError(f"stages.{name}.{key} is unknown{nearest(key, KNOWN)}; a stage takes {', '.join(KNOWN)}.")
    for key in MERGED:
        if not isinstance(node.get(key, {}), Mapping):
            raise UserError(f"stages.{name}.{key}={node[key]} must be a mapping of what differs in this stage.")
    for key in SECTIONS:
        if not isinstance(node.get(key, {}), Mapping):
            choice = f"+{key}@stages.{name}.{key}={node[key]}"
            raise UserError(f"stages.{name}.{key}={node[key]} names no file of conf/{key}; write {choice}.")
    for key in OF_TRAINED_TEACHER:
        if key in node.get("teacher", {}):
            raise UserError(
                f"stages.{name}.teacher.{key} has no effect: a teacher is trained once, before all stages; "
                f"say teacher.{key}.NAME=VALUE outside of them."
            )
    for flag in FLAGS:
        if type(node.get(flag, False)) is not bool:
            raise UserError(f"stages.{name}.{flag}={node[flag]} must be true or false.")
    if node.get("each_pair", False) and node.get("born_again", False):
        raise UserError(f"stages.{name} is either born_again or each_pair; make two stages of it.")


def _only(config: Mapping[str, Any], pair: LayerPair) -> dict[str, Any]:
    """Return the config of a stage for one pair; layers below it stay as they are, embeddings from layer 2 on."""
    only = {"_target_": "kdfeatures.mapping.explicit", "pairs": [list(pair)]}
    return {**config, "mapping": only, "freeze_below": pair.student if pair.student > 1 else None}
