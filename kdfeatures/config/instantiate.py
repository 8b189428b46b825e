"""Make objects from config nodes with `_target_`: the losses, layer maps, projections and heads of this package only.

Hydra's instantiate would call any function that a config names, and configs travel: beside models, in results.json, in
a folder of experiments. So the list is closed, and what is outside needs the user's word on the command line:
`allow_targets=[my_package]`. What a file says of itself is no permission (kdfeatures.config.compose).
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, get_type_hints

import hydra.errors
import hydra.utils
from omegaconf import OmegaConf

from kdfeatures import alignment, losses, mapping
from kdfeatures.alignment.resolve import HEADS, PROJECTIONS
from kdfeatures.config.option_errors import option_line
from kdfeatures.config.schema import typed
from kdfeatures.errors import UserError, nearest
from kdfeatures.mapping.resolve import LAYER_MAPS
from kdfeatures.runs.moved_options import current_target

Kind = Literal["loss", "layer map", "projection", "head alignment"]
OURS = "kdfeatures"
RESERVED = ("_args_", "_partial_", "_recursive_", "_convert_")  # of Hydra, which change what a call makes


def _named(package: Any, values: Any) -> dict[str, Any]:
    """Return {how a config may name it: value}: by the package, as conf/ does, or by the module that defines it."""
    by_package = {f"{package.__name__}.{value.__name__}": value for value in values}
    return by_package | {f"{value.__module__}.{value.__qualname__}": value for value in values}


LOSSES = [
    value
    for value in map(losses.__dict__.__getitem__, losses.__all__)
    if isinstance(value, type) and hasattr(value, "inputs") and value is not losses.FunctionLoss
]
TARGETS: dict[Kind, dict[str, Any]] = {
    "loss": _named(losses, LOSSES),
    "layer map": _named(mapping, [*LAYER_MAPS.values(), mapping.explicit]),
    "projection": _named(alignment, [maker for maker in PROJECTIONS.values() if isinstance(maker, type)]),
    "head alignment": _named(alignment, HEADS.values()),
}


def instantiate(node: Mapping[str, Any], option: str, kind: Kind, allow_targets: Sequence[str], *args) -> Any:
    """Call the node's `_target_` with `args` and the rest of the node. `option` is how the user names it, for errors.

    kind: what the target must be. Plain arguments are converted to the types that the target declares, so that
    `embeddings=no` is false. Raises UserError for a target that is neither of this kind nor of an allowed package, and
    for an argument that is missing or does not fit.
    """
    if not isinstance(node, Mapping):
        raise UserError(f"{option}={node} is no {kind}; choose one of the files in conf/.")
    node = current_target(node)
    if "_target_" not in node:
        raise UserError(f"{option} has no _target_, so there is nothing to call; choose one of the files in conf/.")
    missing = sorted(OmegaConf.missing_keys(OmegaConf.create(dict(node))))
    if missing:
        raise UserError(f"{option}.{missing[0]} has no default; give {option}.{missing[0]}=...")
    for target in _targets(node):
        _check_allowed(target, option, kind, allow_targets)
    reserved = [key for key in RESERVED if key in node]
    target = node["_target_"]
    if reserved and target in TARGETS[kind]:
        raise UserError(f"{option}.{reserved[0]} is not an argument of {target}; leave it out.")
    declared = _declared(TARGETS[kind].get(target) or _find(target, option))
    try:
        return hydra.utils.instantiate(typed(node, declared, option), *args)
    except hydra.errors.InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise UserError(option_line(error.__cause__, option)) from error
        raise UserError(f"{option}: {_one_line(error.__cause__ or error)}") from error


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield str(node["_target_"])
        for value in node.values():
            yield from _targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from _targets(value)


def _check_allowed(target: str, option: str, kind: Kind, allow_targets: Sequence[str]) -> None:
    """By the name alone: nothing is imported to find out whether it may be."""
    package = target.split(".")[0]
    if target in TARGETS[kind] or (package != OURS and package in allow_targets):
        return
    if package == OURS:
        names = {name.rpartition(".")[2]: name for name in TARGETS[kind]}
        raise UserError(
            f"{option}._target_={target} is no {kind} of kdfeatures{nearest(target.rpartition('.')[2], names)}; choose "
            "one of the files in conf/."
        )
    raise UserError(
        f"{option}._target_={target} is outside kdfeatures; if you trust it, say allow_targets=[{package}] on the "
        "command line."
    )


def _find(target: str, option: str) -> Any:
    try:
        return pkgutil.resolve_name(target)
    except Exception as error:  # importing a user's module may raise anything
        raise UserError(f"{option}._target_={target} cannot be found: {_one_line(error)}") from error


def _declared(target: Callable) -> dict[str, Any]:
    called: Any = target
    if isinstance(target, type):
        called = called.__init__
    try:
        return get_type_hints(called)
    except (NameError, TypeError):
        return {}  # a user's target whose annotations cannot be resolved


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
