"""A task is one row of facts: where its data lie, which columns to read, its classes and its metrics.

The rows are the files of conf/task/; a new task is one YAML there and no code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from kdfeatures.errors import Diverged, UserError, nearest
from kdfeatures.evaluation.entity_f1 import is_bio
from kdfeatures.evaluation.metrics import METRICS, REGRESSION_METRICS
from kdfeatures.tasks.file_options import check_file_options


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
        return cls(**config)

    def __post_init__(self) -> None:
        for name, is_right, requirement in (
            ("masked", 0 < self.masked < 1, "between 0 and 1"),
            ("held_out", self.held_out >= 0, "a whole number from 0"),
            ("shuffle", self.shuffle >= 1, "a whole number from 1"),
        ):
            if not is_right:
                raise UserError(f"task.reading.{name}={getattr(self, name)} must be {requirement}.")


SPLITS = ("train", "validation", "extra", "test", "test_extra", "selection")
SOURCES = ("dataset", "files", "embedded")
KINDS = ("sequence", "tokens", "text")
ENTITY_F1 = "entity_f1"  # of kind tokens only: it needs the sentences
MASKED_ACCURACY = "masked_accuracy"  # of kind text only


@dataclass(frozen=True)
class Task:
    """The facts of one task; raises UserError when they contradict each other.

    name     what results are filed under
    kind     sequence: one label a text, or pair of texts; tokens: one label a word; text: no labels
    text     one or two text columns; for tokens one column of lists of words
    label    the label column; for tokens lists of as many labels; None for text
    labels   class names in the order of their ids; empty means regression
    metrics  names from `kdfeatures.evaluation.metrics.METRICS`; with several, models are selected by their mean
    splits   our name -> the data's name, for the names in SPLITS; `extra` is a second validation split
             (MNLI mismatched), `selection` what choices are made on, by default data.held_out of the training
             examples. Left empty with `files`, whose keys are the splits.

    reading  for text: how it becomes examples
    delimiter, quotes, encoding  of the user's files: what separates the columns of CSV ("tab" is one, too), and whether
             quotes enclose fields or are text, None finds both; None is UTF-8

    Exactly one source: `dataset` (a Hub id, with `config` or None for its only config), `files` (split -> path of a
    user's own file, a pattern or a folder of them, or a list) or `embedded` (the name of a generated task). For text
    it is data.path.
    """

    name: str
    text: tuple[str, ...]
    label: str | None
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    splits: Mapping[str, str]
    config: str | None = None
    dataset: str | None = None
    files: Mapping[str, str | Sequence[str]] | None = None
    embedded: str | None = None
    kind: str = "sequence"
    reading: Reading | None = None
    delimiter: str | None = None
    encoding: str | None = None
    quotes: bool | None = None

    @property
    def has_labels(self) -> bool:
        return self.label is not None

    @property
    def is_regression(self) -> bool:
        return self.has_labels and not self.labels

    @property
    def text_reading(self) -> Reading:
        """How a task of kind text, which always says so, becomes examples."""
        assert self.reading is not None
        return self.reading

    @property
    def without_outputs(self) -> Task:
        """The same text for models without a head, which nothing scores."""
        return replace(self, kind="plain_text", metrics=())

    @property
    def num_labels(self) -> int:
        """Outputs of a classifier for this task: one per class, 1 for regression."""
        return len(self.labels) or 1

    @property
    def main_metric(self) -> str | None:
        """The key of `score` by which models are selected and compared; None for a task that scores none."""
        if not self.metrics:
            return None
        return "combined_score" if len(self.metrics) > 1 else self.metrics[0]

    def predictions_from_logits(self, logits: np.ndarray) -> np.ndarray:
        """Return class ids from logits (examples, C), or scores from (examples, 1) for regression.

        Raises UserError for another width, Diverged for logits that are not finite: argmax would hide it.
        """
        logits = np.asarray(logits)
        if logits.ndim != 2 or logits.shape[1] != self.num_labels:
            raise UserError(
                f"task '{self.name}' needs logits of shape (examples, {self.num_labels}), got {logits.shape}"
            )
        broken = int((~np.isfinite(logits)).any(axis=1).sum())
        if broken:
            raise Diverged(
                f"the logits of {broken} of {len(logits)} examples are not finite: its weights or its precision "
                "are at fault; run it in float32, or take another one"
            )
        return logits[:, 0] if self.is_regression else logits.argmax(axis=1)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Task:
        """Build a task from the mapping of a conf/task file; raises UserError for unknown or missing keys."""
        known = [field.name for field in fields(cls)]
        is_text = config.get("kind") == "text"
        for key in config:
            if key not in known:
                raise UserError(f"unknown task key '{key}'{nearest(key, known)} (known: {', '.join(known)})")
        needed = ("name", "text") if is_text else ("name", "text", "label", "labels", "metrics")
        missing = [key for key in needed if _is_missing(config, key)]
        splits, files = config.get("splits") or {}, config.get("files") or {}
        missing += [f"splits.{split}" for split in splits if _is_missing(splits, split)]
        missing += [f"files.{split}" for split, file in files.items() if file == "???"]
        check_file_options(config)
        named = {split: file for split, file in files.items() if file is not None}
        missing += ["files.train"] if files and not named else []
        if missing:
            raise UserError(f"the task lacks {', '.join(missing)}; set task.{missing[0]}=...")
        facts = dict(config)
        for key in ("text", "labels", "metrics"):
            facts[key] = _names(key, config[key])
        if named and splits:
            raise UserError("task.files already names the splits; leave task.splits empty")
        if config.get("reading") is not None:
            facts["reading"] = Reading.from_config(config["reading"])
        facts["files"] = named or None
        facts["splits"] = dict(splits) or {split: split for split in named}
        return cls(**facts)

    def __post_init__(self) -> None:
        if self.kind not in (*KINDS, "plain_text"):
            raise UserError(
                f"task '{self.name}' has the unknown kind '{self.kind}'{nearest(self.kind, KINDS)} "
                f"(known: {', '.join(KINDS)})"
            )
        if not 1 <= len(self.text) <= (2 if self.kind == "sequence" else 1):
            expected = "one or two" if self.kind == "sequence" else f"one, as kind {self.kind} has it"
            raise UserError(f"task '{self.name}' has {len(self.text)} text columns; give task.text {expected}")
        if (self.kind in ("text", "plain_text")) == self.has_labels:
            raise UserError(
                f"task '{self.name}' of kind {self.kind} has task.label={self.label}; kind text, and no other, has none"
            )
        if not self.has_labels:
            self._check_text()
            return
        if self.label in self.text:
            raise UserError(f"task '{self.name}' has '{self.label}' both as text column and as label column")
        if len(self.labels) == 1 or len(set(self.labels)) != len(self.labels):
            raise UserError(
                f"task '{self.name}' has labels {list(self.labels)}; give two or more different class names, "
                "or none for regression"
            )
        if self.kind == "tokens" and not self.labels:
            raise UserError(f"task '{self.name}' of kind tokens has no labels; give task.labels the class names")
        self._check_metrics()
        self._check_source()

    def _check_text(self) -> None:
        keys = [key for key in ("labels", *SOURCES) if getattr(self, key)]
        if keys:
            raise UserError(f"task '{self.name}' of kind text takes no task.{keys[0]}; its text is data.path")
        if self.reading is None:
            raise UserError(f"task '{self.name}' of kind text lacks the section reading of conf/task/text.yaml")
        expected = (MASKED_ACCURACY,) if self.kind == "text" else ()
        if self.metrics != expected:
            raise UserError(f"task '{self.name}' of kind text has the metric {MASKED_ACCURACY} and no other")

    def _check_metrics(self) -> None:
        known = (*METRICS, ENTITY_F1) if self.kind == "tokens" else tuple(METRICS)
        if not self.metrics:
            raise UserError(f"task '{self.name}' has no metric; give task.metrics some of {', '.join(known)}")
        for metric in self.metrics:
            if metric not in known:
                raise UserError(
                    f"task '{self.name}' has unknown metric '{metric}'{nearest(metric, known)} "
                    f"(known: {', '.join(known)})"
                )
            if (metric in REGRESSION_METRICS) != self.is_regression:
                kind = "regression (no labels)" if self.is_regression else f"{len(self.labels)} classes"
                fitting = [name for name in METRICS if (name in REGRESSION_METRICS) == self.is_regression]
                raise UserError(f"metric '{metric}' does not fit task '{self.name}', {kind}; use {', '.join(fitting)}")
        if "f1" in self.metrics and len(self.labels) != 2:
            raise UserError(
                f"metric 'f1' scores class 1 of 2, but task '{self.name}' has {len(self.labels)} classes; use f1_macro"
            )
        strange = [label for label in self.labels if not is_bio(label)]
        if ENTITY_F1 in self.metrics and strange:
            raise UserError(
                f"metric '{ENTITY_F1}' reads the labels O, B-TYPE and I-TYPE, but task '{self.name}' has "
                f"'{strange[0]}'; use accuracy or f1_macro"
            )

    def _check_source(self) -> None:
        sources = [source for source in SOURCES if getattr(self, source)]
        if len(sources) != 1:
            raise UserError(
                f"task '{self.name}' needs exactly one source of data: dataset, files or embedded; "
                f"it has {', '.join(sources) or 'none'}"
            )
        if not self.splits:
            raise UserError(f"task '{self.name}' names no splits; give task.splits some of {', '.join(SPLITS)}")
        for split in self.splits:
            if split not in SPLITS:
                known = ", ".join(SPLITS)
                raise UserError(f"unknown split '{split}'{nearest(split, SPLITS)} (known: {known})")


def _is_missing(config: Mapping[str, Any], key: str) -> bool:
    # "???" is how a YAML marks a value that the user must give
    return key not in config or config[key] is None or config[key] == "???"


def _names(key: str, values: Any) -> tuple[str, ...]:
    if isinstance(values, str) or not isinstance(values, Sequence):
        values = [values]
    for value in values:
        if isinstance(value, bool):
            # YAML reads a bare yes, no, on or off as a truth value
            raise UserError(f"task.{key} holds the truth value {value}; put names such as 'no' in quotes")
    return tuple(str(value) for value in values)
