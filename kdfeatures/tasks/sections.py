"""The sections of a task that only some kinds have: how text becomes examples, how long contexts become windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar, TypeVar

from kdfeatures.errors import UserError, nearest

Section = TypeVar("Section", bound="TaskSection")


@dataclass(frozen=True)
class TaskSection:
    """Base of the sections; `name` is the key in a task's file."""

    name: ClassVar[str]

    @classmethod
    def from_config(cls: type[Section], config: Mapping[str, Any]) -> Section:
        """Build it from the mapping in a conf/task file; raises UserError for keys and values that do not fit."""
        known = [field.name for field in fields(cls)]
        for key in config:
            if key not in known:
                raise UserError(f"unknown key task.{cls.name}.{key}{nearest(key, known)} (known: {', '.join(known)})")
        missing = [field.name for field in fields(cls) if field.default is MISSING and field.name not in config]
        if missing:
            raise UserError(f"the task lacks {cls.name}.{missing[0]}; set task.{cls.name}.{missing[0]}=...")
        return cls(**config)

    def _require(self, key: str, fits: bool, requirement: str) -> None:
        if not fits:
            raise UserError(f"task.{self.name}.{key}={getattr(self, key)} must be {requirement}.")


@dataclass(frozen=True)
class Reading(TaskSection):
    """Of kind text: how it becomes examples.

    blocks: texts joined and cut into blocks, or one text an example. masked: share of tokens to predict.
    held_out: training texts kept for scoring where there is no validation split. shuffle: examples of a stream that are
    mixed at a time. masked_once: a training example has the same masks whenever it is read, those of the run's seed.
    """

    name: ClassVar[str] = "reading"

    blocks: bool
    masked: float
    held_out: int
    shuffle: int
    masked_once: bool = False

    def __post_init__(self) -> None:
        self._require("masked", 0 < self.masked < 1, "between 0 and 1")
        self._require("masked_once", isinstance(self.masked_once, bool), "true or false")
        self._require("held_out", self.held_out >= 0, "a whole number from 0")
        self._require("shuffle", self.shuffle >= 1, "a whole number from 1")


@dataclass(frozen=True)
class Windows(TaskSection):
    """Of kind question: a context that is longer than data.max_length is read in windows.

    overlap: tokens of the context that a window shares with the one before. longest_answer: tokens of an answer.
    unanswerable: whether a question may have no answer, so that the empty one is an answer, too.
    """

    name: ClassVar[str] = "windows"

    overlap: int
    longest_answer: int
    unanswerable: bool

    def __post_init__(self) -> None:
        self._require("overlap", self.overlap >= 0, "a whole number from 0")
        self._require("longest_answer", self.longest_answer >= 1, "a whole number from 1")
