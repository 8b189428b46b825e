"""Make objects from config nodes with `_target_`, from this package only.

Hydra's instantiate would call any function that a config names, and configs travel; so a target outside `kdfeatures`
needs the user's word: `allow_targets=[my_package]`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import make_dataclass
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import hydra.errors
import hydra.utils
from hydra._internal.utils import _locate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kdfeatures.errors import UserError

PLAIN = {bool, int, float, str, NoneType}


def instantiate(node: DictConfig, option: str, allow_targets: Sequence[str], *args) -> Any:
    """Call the node's `_target_` with `args` and the rest of the node. `option` is how the user names it, for errors.

    Plain arguments are converted to the types that the target declares, so that `embeddings=no` is false.
    Raises UserError for a target outside the allowed packages, and for an argument that is missing or does not fit.
    """
    node = OmegaConf.create(OmegaConf.to_container(node, resolve=True))  # its keys now start at the node itself
    if "_target_" not in node:
        raise UserError(f"{option} has no _target_, so there is nothing to call; choose one of the files in conf/.")
    missing = sorted(OmegaConf.missing_keys(node))
    if missing:
        raise UserError(f"{option}.{missing[0]} has no default; give {option}.{missing[0]}=...")
    for target in _targets(OmegaConf.to_container(node)):
        _check_allowed(target, option, allow_targets)
    try:
        return hydra.utils.instantiate(_typed(node, option, _find(node["_target_"], option)), *args)
    except hydra.errors.InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
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


def _check_allowed(target: str, option: str, allow_targets: Sequence[str]) -> None:
    allowed = ("kdfeatures", *allow_targets)
    package = target.split(".")[0]
    if package in allowed:
        # kdfeatures.cli.os.system begins like ours
        package = (getattr(_find(target, option), "__module__", None) or package).split(".")[0]
    if package not in allowed:
        raise UserError(
            f"{option}._target_={target} is outside kdfeatures; if you trust it, say allow_targets=[{package}]."
        )


def _find(target: str, option: str) -> Any:
    try:
        return _locate(target)
    except Exception as error:  # importing a user's module may raise anything
        raise UserError(f"{option}._target_={target} cannot be found: {_one_line(error)}") from error


def _typed(node: DictConfig, option: str, target: Callable) -> DictConfig:
    try:
        declared = get_type_hints(target.__init__ if isinstance(target, type) else target)
    except (NameError, TypeError):
        declared = {}  # a user's target whose annotations cannot be resolved
    types = {name: hint for name, hint in declared.items() if name in node and _is_plain(hint)}
    shape = OmegaConf.structured(make_dataclass("Arguments", types.items())(**dict.fromkeys(types, "???")))
    try:
        values = OmegaConf.merge(shape, {name: node[name] for name in types})
    except OmegaConfBaseException as error:
        raise UserError(f"{option}.{error.full_key}: {str(error.msg or error).splitlines()[0]}") from error
    return OmegaConf.merge(node, OmegaConf.to_container(values))


def _is_plain(hint: Any) -> bool:
    return set(get_args(hint) if get_origin(hint) in (Union, UnionType) else [hint]) <= PLAIN


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
