"""How text without labels becomes examples: the section `reading` of a task of kind text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, get_type_hints

from kdfeatures.config.schema import typed
from kdfeatures.errors import UserError, nearest


@dataclass(frozen=True)
class Reading:
    """blocks: texts joined and cut into blocks, or one text an example. masked: share of tokens to predict.

    held_out: training texts kept for scoring where there is no validation split. shuffle: examples of a stream that are
    mixed at a time.
    """

    blocks: bool
    masked: float
    held_out: int
    shuffle: int

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Reading:
        """Build it from the mapping in a conf/task file; raises UserError for keys and values that do not fit."""
        known = [field.name for field in fields(cls)]
        for key in config:
            if key not in known:
                raise UserError(f"unknown key task.reading.{key}{nearest(key, known)} (known: {', '.join(known)})")
        missing = [key for key in known if key not in config]
        if missing:
            raise UserError(f"the task lacks reading.{missing[0]}; set task.reading.{missing[0]}=...")
        return cls(**typed(config, get_type_hints(cls), "task.reading"))

    def __post_init__(self) -> None:
        for name, is_right, wanted in (
            ("masked", 0 < self.masked < 1, "between 0 and 1"),
            ("held_out", self.held_out >= 0, "a whole number from 0"),
            ("shuffle", self.shuffle >= 1, "a whole number from 1"),
        ):
            if not is_right:
                raise UserError(f"task.reading.{name}={getattr(self, name)} must be {wanted}.")
