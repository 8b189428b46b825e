"""A task is one row of facts: where its data lie, which columns to read, its classes and its metrics.

The rows are the files of conf/task/; a new task is one YAML there and no code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import scipy

from kdfeatures.errors import Diverged, UserError, nearest
from kdfeatures.evaluation import multilabel, ranking
from kdfeatures.evaluation.entity_f1 import is_bio
from kdfeatures.evaluation.metrics import METRICS, REGRESSION_METRICS
from kdfeatures.losses.base import Outputs
from kdfeatures.tasks.fact_types import check_fact_types
from kdfeatures.tasks.sections import Reading, TaskSection, Windows

SPLITS = ("train", "validation", "extra", "test", "test_extra", "selection")
SOURCES = ("dataset", "files", "embedded")
KINDS = ("sequence", "tokens", "text", "multilabel", "relevance", "question", "embedding")
ENTITY_F1 = "entity_f1"  # of kind tokens only: it needs the sentences
MASKED_ACCURACY = "masked_accuracy"  # of kind text only
MSE = "mse"  # of an output that is trained with squared error
LABELS = "labels"  # the column that a label for each of several columns is brought into
# names of metrics by kind; all others take those of classes and of scores
KIND_METRICS: Mapping[str, tuple[str, ...]] = {
    "tokens": (*METRICS, ENTITY_F1),
    "multilabel": tuple(multilabel.METRICS),
    "relevance": (*ranking.METRICS, *ranking.BY_QUERY),
    "question": ("f1", "exact_match"),
    "embedding": ("spearmanr", "pearson"),
}
# what a key that only one kind reads is of
OF_KIND = {
    "reading": "text",
    "windows": "question",
    "separator": "multilabel",
    "scale": "relevance",
    "loss": "relevance",
}
OUTPUTS: Mapping[str, Outputs] = {
    "multilabel": "labels",
    "relevance": "labels",
    "embedding": "vector",
    "question": "positions",
}
# what a task's file must say beside name and text
NEEDED: Mapping[str, tuple[str, ...]] = {
    "text": (),
    "embedding": (),
    "multilabel": ("labels", "metrics"),
    "relevance": ("label", "metrics"),
    "question": ("label",),
}
TEXT_COLUMNS = {"sequence": (1, 2), "multilabel": (1, 2), "relevance": (1, 2), "question": (2, 2), "embedding": (1, 2)}


@dataclass(frozen=True)
class Task:
    """The facts of one task; raises UserError when they contradict each other.

    name     what results are filed under
    kind     sequence: one label a text, or pair of texts; tokens: one label a word; text: no labels;
             multilabel: any number of labels a text; relevance: how well two texts fit, one output; question: an answer
             that is a part of a text; embedding: a vector a text
    text     one or two text columns; for tokens one column of lists of words; for question that of the question and
             that of the context
    label    the label column; for tokens lists of as many labels; None for text; for multilabel lists of labels, or
             None: a column of 0 and 1 for each of `labels`; for question that of SQuAD's answers; for embedding how
             alike two texts are, or None
    labels   class names in the order of their ids; empty means regression, and is right for kinds with one output or
             none
    metrics  names from KIND_METRICS, or `kdfeatures.evaluation.metrics.METRICS`; with several, models are selected by
             their mean
    splits   our name -> the data's name, for the names in SPLITS; `extra` is a second validation split
             (MNLI mismatched), `selection` what choices are made on, by default data.held_out of the training
             examples. Left empty with `files`, whose keys are the splits.

    reading  for text: how it becomes examples
    windows  for question: how long contexts are read
    separator  for multilabel: what stands between labels where they are one string, as in CSV
    scale    for relevance: what labels are divided by, so that they lie between 0 and 1
    loss     for relevance: how its one output is trained, "bce" (binary cross-entropy, None) or "mse"
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
    windows: Windows | None = None
    separator: str | None = None
    scale: float | None = None
    loss: str | None = None

    @property
    def has_labels(self) -> bool:
        return self.label is not None or self.kind == "multilabel"

    @property
    def is_text(self) -> bool:
        """Whether it is a text that is read in blocks or lines, and not a table with a row for each example."""
        return self.kind in ("text", "plain_text")

    @property
    def label_column(self) -> str:
        """The column of labels, once several are brought into one."""
        return LABELS if self.label is None else self.label

    @property
    def data_columns(self) -> tuple[str, ...]:
        """The columns that are read of the data."""
        labels = self.labels if self.kind == "multilabel" and self.label is None else (self.label,)
        return (*self.text, *(column for column in labels if column is not None))

    @property
    def is_regression(self) -> bool:
        return self.kind == "sequence" and self.has_labels and not self.labels

    @property
    def outputs(self) -> Outputs:
        """What a row of a model's outputs means; see kdfeatures.losses.base."""
        if self.is_regression or self.loss == MSE:
            return "score"
        return OUTPUTS.get(self.kind, "classes")

    @property
    def text_reading(self) -> Reading:
        """How a task of kind text, which always says so, becomes examples."""
        assert self.reading is not None
        return self.reading

    @property
    def without_outputs(self) -> Task:
        """The same text for models without a head, which nothing scores."""
        return replace(self, kind="plain_text", metrics=())

    def with_texts(self, columns: Sequence[str]) -> Task:
        """The same task of kind embedding over other columns of texts, as they are read one by one."""
        return replace(self, text=tuple(columns))

    @property
    def answer_windows(self) -> Windows:
        """How a task of kind question, which always says so, reads long contexts."""
        assert self.windows is not None
        return self.windows

    @property
    def num_labels(self) -> int:
        """Outputs of a model's head for this task: one per class, 1 for regression, start and end of an answer."""
        return 2 if self.kind == "question" else len(self.labels) or 1

    @property
    def main_metric(self) -> str | None:
        """The key of `score` by which models are selected and compared; None for a task that scores none."""
        if not self.metrics:
            return None
        return "combined_score" if len(self.metrics) > 1 else self.metrics[0]

    def predictions_from_logits(self, logits: np.ndarray) -> np.ndarray:
        """Return class ids from logits (examples, C), or scores from (examples, 1) for regression.

        Of several labels 0 or 1 for each, (examples, C), 1 above a probability of 0.5; of relevance probabilities.
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
        if self.kind == "multilabel":
            return (logits > 0).astype(np.int64)
        if self.kind == "relevance" and self.loss != MSE:
            return scipy.special.expit(logits[:, 0].astype(np.float64))
        return logits.argmax(axis=1) if self.outputs == "classes" else logits[:, 0]

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Task:
        """Build a task from the mapping of a conf/task file; raises UserError for unknown or missing keys."""
        known = [field.name for field in fields(cls)]
        check_fact_types(config)
        kind = config.get("kind", "sequence")
        for key in config:
            if key not in known:
                raise UserError(f"unknown task key '{key}'{nearest(key, known)} (known: {', '.join(known)})")
        needed = ("name", "text", *NEEDED.get(kind, ("label", "labels", "metrics")))
        missing = [key for key in needed if _is_missing(config, key)]
        splits, files = config.get("splits") or {}, config.get("files") or {}
        missing += [f"splits.{split}" for split in splits if _is_missing(splits, split)]
        missing += [f"files.{split}" for split, file in files.items() if file == "???"]
        named = {split: file for split, file in files.items() if file is not None}
        missing += ["files.train"] if files and not named else []
        if missing:
            raise UserError(f"the task lacks {', '.join(missing)}; set task.{missing[0]}=...")
        facts = dict(config)
        for key in ("text", "labels", "metrics"):
            facts[key] = _names(key, [] if config.get(key) is None else config[key])
        if named and splits:
            raise UserError("task.files already names the splits; leave task.splits empty")
        sections: dict[str, type[TaskSection]] = {"reading": Reading, "windows": Windows}
        facts |= {key: of.from_config(config[key]) for key, of in sections.items() if config.get(key) is not None}
        if kind == "embedding" and facts.get("label") is not None and len(facts["text"]) != 2:
            raise UserError(f"task.label={facts['label']} says how alike two texts are; give task.text two columns")
        facts["files"] = named or None
        facts["splits"] = dict(splits) or {split: split for split in named}
        return cls(**facts)

    def __post_init__(self) -> None:
        if self.kind not in (*KINDS, "plain_text"):
            raise UserError(
                f"task '{self.name}' has the unknown kind '{self.kind}'{nearest(self.kind, KINDS)} "
                f"(known: {', '.join(KINDS)})"
            )
        least, most = TEXT_COLUMNS.get(self.kind, (1, 1))
        if not least <= len(self.text) <= most:
            expected = {(1, 2): "one or two", (2, 2): "two: the question and its context"}.get((least, most), "one")
            as_kind = "" if self.kind == "sequence" else f", as kind {self.kind} has it"
            raise UserError(f"task '{self.name}' has {len(self.text)} text columns; give task.text {expected}{as_kind}")
        for key, kind in OF_KIND.items():
            if getattr(self, key) is not None and kind not in (self.kind, self.kind.removeprefix("plain_")):
                raise UserError(
                    f"task.{key} is read by kind {kind} alone, but task '{self.name}' is of kind {self.kind}"
                )
        if self.is_text and self.label is not None:
            raise UserError(
                f"task '{self.name}' of kind {self.kind} has task.label={self.label}; a text has none, leave it out"
            )
        if not self.is_text and not self.has_labels and self.kind != "embedding":
            raise UserError(f"task '{self.name}' of kind {self.kind} has no labels; give task.label their column")
        if self.is_text:
            self._check_text()
            return
        if set(self.data_columns[len(self.text) :]) & set(self.text):
            raise UserError(f"task '{self.name}' has '{self.label}' both as text column and as label column")
        self._check_labels()
        self._check_metrics()
        self._check_source()

    def _check_labels(self) -> None:
        if self.kind in ("relevance", "question", "embedding") and self.labels:
            raise UserError(f"task '{self.name}' of kind {self.kind} has no classes; leave task.labels empty")
        if len(set(self.labels)) != len(self.labels) or len(self.labels) == 1 and self.kind != "multilabel":
            raise UserError(
                f"task '{self.name}' has labels {list(self.labels)}; give two or more different class names, "
                "or none for regression"
            )
        if self.kind in ("tokens", "multilabel") and not self.labels:
            raise UserError(f"task '{self.name}' of kind {self.kind} has no labels; give task.labels the class names")
        if self.scale is not None and not 0 < self.scale < float("inf"):
            raise UserError(f"task.scale={self.scale} must be a finite number above 0; labels are divided by it")
        if self.loss not in (None, "bce", MSE):
            raise UserError(f"task.loss={self.loss} is unknown; how a model's one output is trained is bce or mse")
        if self.kind == "question" and self.windows is None:
            raise UserError(f"task '{self.name}' of kind question lacks the section windows of conf/task/squad.yaml")

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
        known = KIND_METRICS.get(self.kind, tuple(METRICS))
        if not self.has_labels:
            if self.metrics:
                raise UserError(
                    f"task '{self.name}' has no labels, so task.metrics=[{','.join(self.metrics)}] scores nothing; "
                    "give task.label the column that says how alike two texts are, or leave task.metrics empty"
                )
            return
        if not self.metrics:
            raise UserError(f"task '{self.name}' has no metric; give task.metrics some of {', '.join(known)}")
        for metric in self.metrics:
            if metric not in known:
                raise UserError(
                    f"task '{self.name}' has unknown metric '{metric}'{nearest(metric, known)} "
                    f"(known: {', '.join(known)})"
                )
            if self.kind in ("sequence", "tokens") and (metric in REGRESSION_METRICS) != self.is_regression:
                kind = "regression (no labels)" if self.is_regression else f"{len(self.labels)} classes"
                fitting = [name for name in METRICS if (name in REGRESSION_METRICS) == self.is_regression]
                raise UserError(f"metric '{metric}' does not fit task '{self.name}', {kind}; use {', '.join(fitting)}")
        if self.kind in ("sequence", "tokens") and "f1" in self.metrics and len(self.labels) != 2:
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
