"""From the values of a composed config to typed ones: a value of another type is one line that names its key."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import MISSING, fields, make_dataclass
from pathlib import Path
from types import MappingProxyType, NoneType, UnionType
from typing import Any, ClassVar, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from kdfeatures.config.option_errors import option
from kdfeatures.errors import UserError
from kdfeatures.ranges import check_values

OWN_RECIPE = "own"  # what terms are called that come from no file of conf/recipe
NODE = dict[str, Any]  # of a field that holds a section of its own, which is read where it is used
PLAIN = {bool, int, float, str, NoneType}


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]


Section = TypeVar("Section", bound=_Dataclass)


def plain_config(cfg: DictConfig, output_dir: Path | None) -> dict[str, Any]:
    """Return a composed config as plain data with every reference resolved: what lies below this package sees no other.

    output_dir: the folder that the run was given; None leaves what the config says. A recipe of the user's that has no
    recipe_name gets that of its file. Raises UserError for a reference to what is not there.
    """
    cfg = cfg.copy()
    with open_dict(cfg):
        if output_dir is not None:
            cfg.output_dir = str(output_dir)
        if "losses" in cfg and "recipe_name" not in cfg:
            chosen = HydraConfig.get().runtime.choices.get("recipe") if HydraConfig.initialized() else None
            cfg.recipe_name = chosen or OWN_RECIPE
    try:
        return _plain(cfg, resolve=True)
    except InterpolationResolutionError as error:
        raise UserError(
            f"{error.full_key}: {str(error.msg or error).splitlines()[0]}; to write the text itself, put a backslash "
            "before its ${."
        ) from error


def section(config: Mapping[str, Any], name: str, kind: type[Section], *, where: str | None = None) -> Section:
    """Return `config[name]` as an object of the dataclass `kind`.

    where: what the user knows it as; None is the name. Raises UserError that names the key and the value it cannot
    take, and for keys that `kind` has not.
    """
    where = name if where is None else where
    given_node = _node(config.get(name, MISSING), where)
    hints = type_hints(kind)
    _check_kinds(given_node, hints, where)
    sections = {
        key: _node(given_node.get(key, MISSING), f"{_below(where)}{key}") for key in hints if hints[key] == NODE
    }
    others = {key: hint for key, hint in hints.items() if key not in sections}
    direct = {key: value for key, value in given_node.items() if key not in sections}
    values = _converted(direct, others, where, kind.__name__)
    given = {key: value for key, value in values.items() if value != "???"}
    missing = next((key for key in others if key not in given and _has_no_default(kind, key)), None)
    if missing is not None:
        raise UserError(f"{_below(where)}{missing}: missing; give {_below(where)}{missing}=...")
    with option(where):
        settings = kind(**given, **sections)  # what it says itself of a value has more to say than its range
        check_values(given, kind)
        return settings


def typed(values: Mapping[str, Any], declared: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return `values` with those of a declared plain type (bool, int, float, str, or None) converted to it.

    So `no` is false where a bool is declared. Raises UserError that names the key below the option `name` and the
    value.
    """
    values = _node(values, name)
    types = {key: kind for key, kind in declared.items() if key in values and _is_plain(kind)}
    _check_kinds(values, types, name)
    return {**values, **_converted({key: values[key] for key in types}, types, name, "Values")}


def _converted(values: Mapping[str, Any], hints: Mapping[str, Any], where: str, kind: str) -> dict[str, Any]:
    """Return `values` as OmegaConf converts them to the types of a dataclass, `kind`; UserError for what it cannot.

    It is not asked for those that have their type already, which would come back as they are.
    """
    others = {key: value for key, value in values.items() if key not in hints or not _has_type(value, hints[key])}
    if not others:
        return dict(values)
    try:
        shape = _shape(kind, *((key, hints[key]) for key in others if key in hints))
        return {**values, **_plain(OmegaConf.merge(shape, others))}
    except OmegaConfBaseException as error:
        raise _explained(error, where) from error


@functools.cache
def _shape(name: str, *hints: tuple[str, Any]) -> DictConfig:
    """Return a config of keys with their types, and without values."""
    kind = make_dataclass(name, hints)
    shape: DictConfig = OmegaConf.structured(kind(**dict.fromkeys((key for key, _ in hints), "???")))
    return shape


@functools.cache
def type_hints(kind: type) -> Mapping[str, Any]:
    """Return the types of a dataclass's fields by name, without what is annotated to them."""
    return MappingProxyType(get_type_hints(kind))


def _has_type(value: Any, hint: Any) -> bool:
    return value is None and NoneType in _kinds(hint) or _is_plain(hint) and type(value) in _kinds(hint)


def _plain(config: Any, *, resolve: bool = False) -> dict[str, Any]:
    values: Any = OmegaConf.to_container(config, resolve=resolve)  # of a mapping, as a config is
    return values


def _explained(error: OmegaConfBaseException, name: str) -> UserError:
    return UserError(f"{_below(name)}{error.full_key or ''}: {str(error.msg or error).splitlines()[0]}")


def _check_kinds(given: Mapping[str, Any], hints: Mapping[str, Any], where: str) -> None:
    """Raise UserError for values that OmegaConf would convert though they cannot be meant: 2 as true, true as text."""
    for key, hint in hints.items():
        value, kinds = given.get(key), (hint, *get_args(hint))
        if type(value) in (bool, float) and str in kinds and not {bool, float} & set(kinds) and _is_plain(hint):
            raise UserError(f"{_below(where)}{key}={value} must be text.")
        if type(value) is int and bool in kinds and int not in kinds and value not in (0, 1):
            raise UserError(f"{_below(where)}{key}={value} must be true or false.")


def _node(given: Any, where: str) -> Mapping[str, Any]:
    """Return a section as it is; raises UserError for one that is not there, or is a single value."""
    if given is MISSING:
        raise UserError(f"{where} is missing; leave out ~{where}.")
    if not isinstance(given, Mapping):
        raise UserError(f"{where}={given} must hold options by name: {where}.NAME=VALUE.")
    unnamed = next((key for key in given if not isinstance(key, str)), None)
    if unnamed is not None:
        raise UserError(f"{where} holds {unnamed!r}, which is no name of an option.")
    return given


def _below(name: str) -> str:
    return f"{name}." if name else ""


@functools.cache
def _kinds(hint: Any) -> frozenset[Any]:
    """Return the types of a union, or the one that it is."""
    return frozenset(get_args(hint) if get_origin(hint) in (Union, UnionType) else [hint])


def _is_plain(kind: Any) -> bool:
    return _kinds(kind) <= PLAIN


def _has_no_default(kind: type[_Dataclass], key: str) -> bool:
    field = next(field for field in fields(kind) if field.name == key)
    return field.default is MISSING and field.default_factory is MISSING
