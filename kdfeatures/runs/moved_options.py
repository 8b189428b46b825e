"""Options and targets of earlier versions, in configs and results that were saved with them, by their present names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# the beginning of a `_target_`, longest first
TARGETS = {
    "kdfeatures.maps.AttentionMap": "kdfeatures.mapping.AlpMap",
    "kdfeatures.maps.TransportMap": "kdfeatures.mapping.EmdMap",
    "kdfeatures.maps.": "kdfeatures.mapping.",
    "kdfeatures.projection.": "kdfeatures.alignment.",
    "kdfeatures.heads.": "kdfeatures.alignment.",
}
ARGUMENTS = {
    "kdfeatures.losses.RelationKL": {"heads": ("relation_heads", lambda value: value)},
    "kdfeatures.losses.JensenShannon": {"student_share": ("beta", lambda value: 1 - value)},
}
OF_TERMS = {"over_pairs": "pair_reduction"}
# a part of terms that came later, by their loss, where none was said
BINARY = {"multilabel": {"_target_": "kdfeatures.losses.BinaryKD", "temperature": None}}
ADDED_TO_TERMS = {f"kdfeatures.losses.{loss}": BINARY for loss in ("LogitKD", "SoftCrossEntropy", "DecoupledKD")}
# options that came later, by one that was always beside them, and what a run without them did
ADDED: dict[tuple[str, str], dict[str, Any]] = {
    ("student", "init"): {"init_examples": 512, "layers_by": None, "freeze_head": False, "vocabulary": None},
    ("trainer", "tokens_per_batch"): {"threads": None},
    ("teacher", "dtype"): {"fsdp": False},
}

# sections that came later, by one that was always beside them, as a run without them has them
ADDED_SECTIONS: dict[str, dict[str, Any]] = {"balance": {"mixup": {"alpha": None}}}


def current_target(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return a node whose `_target_` and arguments have their present names, and so those of nodes inside it.

    >>> current_target({"_target_": "kdfeatures.maps.TransportMap", "update": True})
    {'_target_': 'kdfeatures.mapping.EmdMap', 'update': True}
    >>> current_target({"_target_": "kdfeatures.losses.RelationKL", "heads": 4})
    {'_target_': 'kdfeatures.losses.RelationKL', 'relation_heads': 4}
    """
    current: dict[str, Any] = {
        key: current_target(value) if isinstance(value, Mapping) else value for key, value in node.items()
    }
    target = current.get("_target_")
    if not isinstance(target, str):
        return current
    for old, new in TARGETS.items():
        if target.startswith(old):
            target = current["_target_"] = new + target.removeprefix(old)
            break
    for old, (new, convert) in ARGUMENTS.get(target, {}).items():
        if type(current.get(old)) in (int, float):
            current[new] = convert(current.pop(old))
    return current


def current_term(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return a term of a config with the present names of its fields, its loss and its map."""
    current = current_target({OF_TERMS.get(key, key): value for key, value in node.items()})
    return {**ADDED_TO_TERMS.get(str(current.get("_target_")), {}), **current} if "regression" in current else current


def current_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's saved config with present names everywhere, its stages included.

    >>> old = {"losses": {"hidden": {"_target_": "kdfeatures.losses.HiddenMSE", "over_pairs": "sum"}}}
    >>> current_config(old)["losses"]["hidden"]["pair_reduction"]
    'sum'
    """
    current = current_target(config)
    for (section, beside), defaults in ADDED.items():
        if isinstance(current.get(section), Mapping) and beside in current[section]:
            current[section] = {**defaults, **current[section]}
    for beside, sections in ADDED_SECTIONS.items():
        if beside in current:
            current = {**sections, **current}
    if isinstance(current.get("losses"), Mapping):
        current["losses"] = {
            name: current_term(term) if isinstance(term, Mapping) else term for name, term in current["losses"].items()
        }
    if isinstance(current.get("stages"), Mapping):
        current["stages"] = {
            name: current_config(stage) if isinstance(stage, Mapping) else stage
            for name, stage in current["stages"].items()
        }
    return current
