"""Make objects from config nodes with `_target_`, from this package only.

Hydra's instantiate would call any function that a config names, and configs travel; so a target outside `kdfeatures`
needs the user's word: `allow_targets=[my_package]`.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, get_type_hints

import hydra.errors
import hydra.utils
from omegaconf import OmegaConf

from kdfeatures.config.option_errors import option_line
from kdfeatures.config.schema import typed
from kdfeatures.errors import UserError
from kdfeatures.runs.moved_options import current_target


def instantiate(node: Mapping[str, Any], option: str, allow_targets: Sequence[str], *args) -> Any:
    """Call the node's `_target_` with `args` and the rest of the node. `option` is how the user names it, for errors.

    Plain arguments are converted to the types that the target declares, so that `embeddings=no` is false.
    Raises UserError for a target outside the allowed packages, and for an argument that is missing or does not fit.
    """
    node = current_target(node)
    if "_target_" not in node:
        raise UserError(f"{option} has no _target_, so there is nothing to call; choose one of the files in conf/.")
    missing = sorted(OmegaConf.missing_keys(OmegaConf.create(dict(node))))
    if missing:
        raise UserError(f"{option}.{missing[0]} has no default; give {option}.{missing[0]}=...")
    for target in _targets(node):
        _check_allowed(target, option, allow_targets)
    declared = _declared(_find(node["_target_"], option))
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


def _check_allowed(target: str, option: str, allow_targets: Sequence[str]) -> None:
    allowed = ("kdfeatures", *allow_targets)
    package = target.split(".")[0]
    if package in allowed:
        # kdfeatures.cli.main.os.system begins like ours
        package = (getattr(_find(target, option), "__module__", None) or package).split(".")[0]
    if package not in allowed:
        raise UserError(
            f"{option}._target_={target} is outside kdfeatures; if you trust it, say allow_targets=[{package}]."
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
