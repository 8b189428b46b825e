"""A run as a list of stages, each a run config of its own that starts from the student of the stage before.

What stands outside `stages` holds for all of them; a stage says only what differs, and its `losses` are added. The
options that are chosen as a whole (WHOLE) replace those outside; the others are merged with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from omegaconf import DictConfig, OmegaConf, open_dict

from kdfeatures.config.objective import build_pairs
from kdfeatures.errors import UserError, nearest
from kdfeatures.mapping.rules import LayerPair

WHOLE = ("task", "mapping", "heads", "projection", "augmentation", "teachers")
MERGED = ("losses", "trainer", "data", "teacher")
PLAIN = ("freeze_below",)
# of the stage itself; each_pair: one stage for every mapped pair, with what lies below it frozen; born_again: the
# student of the stage before teaches a new one, which begins as the first did, with other random weights
OWN = ("each_pair", "born_again")
KNOWN = (*WHOLE, *MERGED, *PLAIN, *OWN)


class Stage(NamedTuple):
    """A stage's name, its run config, whose own stages are empty, and whether it begins a new generation; see OWN.

    key: its place under `stages`, which those of an `each_pair` share.
    """

    name: str
    cfg: DictConfig
    born_again: bool = False
    key: str = ""


def stages_of(cfg: DictConfig, student_layers: int, teacher_layers: int) -> list[Stage]:
    """Return the stages of a composed run config in their order; a config without any is its only stage.

    The depths are of the models that the pairs of a stage with `each_pair` are for. Raises UserError for a stage that
    says what stages do not know.
    """
    if not cfg.stages:
        return [Stage("", cfg)]
    base = OmegaConf.create(OmegaConf.to_container(cfg))  # not resolved: output_dir may name the time
    base.stages = {}
    found = []
    for name, node in cfg.stages.items():
        if not isinstance(node, DictConfig):
            raise UserError(f"stages.{name}={node} must be a mapping of what differs in this stage, or {{}}.")
        own = OmegaConf.to_container(node, resolve=True)
        _check(name, own)
        merged = _merged(base, own)
        born_again = own.get("born_again", False)
        if born_again and not found:
            raise UserError(f"stages.{name}.born_again=true needs a stage before it, whose student then teaches.")
        if not own.get("each_pair", False):
            found.append(Stage(name, merged, born_again, name))
            continue
        pairs = build_pairs(merged.mapping, f"stages.{name}.mapping", student_layers, teacher_layers, cfg.allow_targets)
        found += [Stage(f"{name}_{pair.student}", _only(merged, pair), key=name) for pair in pairs if pair.student]
    return found


def _check(name: str, own: Mapping) -> None:
    for key in own:
        if key not in KNOWN:
            raise UserError(f"stages.{name}.{key} is unknown{nearest(key, KNOWN)}; a stage takes {', '.join(KNOWN)}.")
    for flag in OWN:
        if type(own.get(flag, False)) is not bool:
            raise UserError(f"stages.{name}.{flag}={own[flag]} must be true or false.")
    if own.get("each_pair", False) and own.get("born_again", False):
        raise UserError(f"stages.{name} is either born_again or each_pair; make two stages of it.")


def _merged(base: DictConfig, own: Mapping) -> DictConfig:
    made = base.copy()
    for key, value in own.items():
        if key in (*WHOLE, *PLAIN):
            made[key] = value
        elif key in MERGED and key in made:  # `kdfeatures cache` has no trainer
            made[key] = OmegaConf.merge(made[key], value)
    return made


def _only(cfg: DictConfig, pair: LayerPair) -> DictConfig:
    """Return the config of a stage for one pair; layers below it stay as they are, embeddings from layer 2 on."""
    made = cfg.copy()
    with open_dict(made):
        made.mapping = {"_target_": "kdfeatures.mapping.explicit", "pairs": [list(pair)]}
        made.freeze_below = pair.student if pair.student > 1 else None
    return made
