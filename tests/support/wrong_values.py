"""Values that an option cannot have, made from what its dataclass declares."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import fields
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from kdfeatures.config.instantiate import TARGETS
from kdfeatures.ranges import OneOf, Range, ranges_of

NOTHING = "null"
HUGE = "1" + 30 * "0"
# of another type than the key's, as they stand behind the = of an override
OF_OTHER_TYPES = {
    bool: ("maybe", "2", "1.5", "[true]", "{a: 1}"),
    int: ("x", "1.5", "nan", "[1]", "{a: 1}", "''"),
    float: ("x", "[1.0]", "{a: 1}", "''"),
    str: ("[a]", "{a: 1}", "true", "1.5"),
    list: ("1", "x", "{a: 1}"),
    dict: ("1", "x", "[1]"),
}
NOT_FINITE = ("nan", "inf", "-inf")


def wrong_values(hint: Any, allowed: Range | OneOf | None) -> Iterator[str]:
    """Yield values that a field of this type and range must not be given."""
    if hint is Any:
        return
    kinds = {_plain(kind) for kind in (get_args(hint) if _is_union(hint) else [hint])}
    wanted = kinds - {NoneType}
    candidates = dict.fromkeys(value for kind in wanted for value in OF_OTHER_TYPES[kind])
    for value in candidates:
        if not any(_takes(kind, value) for kind in wanted):
            yield value
    if NoneType not in kinds:
        yield NOTHING
    in_list = wanted == {list}
    for value in _out_of_range(allowed, whole=float not in wanted):
        yield f"[{value}]" if in_list else value


def fields_of(kind: type) -> Iterator[tuple[str, Any, Range | OneOf | None]]:
    """Yield name, type and range of the fields of a dataclass."""
    hints, ranges = get_type_hints(kind), dict(ranges_of(kind))
    for field in fields(kind):
        yield field.name, hints[field.name], ranges.get(field.name)


def arguments_of(target: str) -> Iterator[tuple[str, Any]]:
    """Yield name and type of the keyword arguments of what a config may name, plain ones and lists."""
    value = next(targets[target] for targets in TARGETS.values() if target in targets)
    called = value.__init__ if isinstance(value, type) else value
    hints = get_type_hints(called)
    for name, parameter in inspect.signature(called).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY and name in hints:
            parts = get_args(hints[name]) if _is_union(hints[name]) else (hints[name],)
            if all(_plain(part) in {*OF_OTHER_TYPES, NoneType} for part in parts):
                yield name, hints[name]


def _plain(hint: Any) -> Any:
    origin = get_origin(hint) or hint
    return list if getattr(origin, "__name__", "") == "Sequence" else dict if origin is dict else origin


def _is_union(hint: Any) -> bool:
    return get_origin(hint) is not None and get_origin(hint) not in (list, dict, Literal) and len(get_args(hint)) > 1


def _takes(kind: type, value: str) -> bool:
    return value not in OF_OTHER_TYPES[kind] and not (kind is str and value in ("x", "maybe", "''", "2", "1", "nan"))


def _out_of_range(allowed: Range | OneOf | None, *, whole: bool) -> Iterator[str]:
    if isinstance(allowed, OneOf):
        yield from ("nope", "''")
    if not isinstance(allowed, Range):
        return
    step = 1 if whole else 0.5
    if allowed.low > -1e18:
        yield f"{allowed.low if allowed.above else allowed.low - step:g}"
        yield f"-{HUGE}"
    if allowed.high < 1e18:
        yield f"{allowed.high if allowed.below else allowed.high + step:g}" if allowed.high < 1e6 else f"{HUGE}"
    if not whole:
        yield from NOT_FINITE
