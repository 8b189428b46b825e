"""A teacher that is a file of its answers (kdfeatures.data.predictions_file), found by the ids of the examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset

from kdfeatures.data.predictions_file import read_answers
from kdfeatures.distillation.bound import BoundObjective
from kdfeatures.distillation.term import ON_TEACHER_LOGITS
from kdfeatures.errors import UserError
from kdfeatures.tasks.task import Task

ROW = "teacher_row"  # the column that tells which stored or cached row of a teacher an example is


@dataclass(frozen=True)
class StoredOutputs:
    """Logits (answers, C), float32, in the task's label order, and which of them belongs to which example.

    option: how the user named the file. rows: {split: {id: row}}. id_column: as in `ids_of`. softened: only the
    softmax of the logits means anything.
    """

    option: str
    logits: np.ndarray
    rows: Mapping[str, Mapping[str, int]]
    id_column: str | None
    softened: bool

    @classmethod
    def read(cls, path: str, task: Task, id_column: str | None) -> StoredOutputs:
        """Read the file or folder of teacher.outputs; for what may be wrong see `outputs_file.read_answers`."""
        option = f"teacher.outputs={path}"
        if task.kind != "sequence":
            raise UserError(
                f"{option} has classes or scores of whole texts, which a task of kind sequence asks for; task "
                f"'{task.name}' is of kind {task.kind}."
            )
        answers_by_split = read_answers(Path(path), task, option)
        rows: dict[str, dict[str, int]] = {}
        start = 0
        for split, answers in answers_by_split.items():
            rows[split] = {example_id: start + n for n, example_id in enumerate(answers.ids)}
            start += len(answers.ids)
        logits = np.concatenate([answers.logits for answers in answers_by_split.values()])
        return cls(option, logits, rows, id_column, any(answers.softened for answers in answers_by_split.values()))

    def check(self, objective: BoundObjective) -> None:
        """Raise UserError for a term that compares raw outputs where only their softmax is known."""
        for name, term in objective.terms.items():
            on_logits = term.loss.inputs in ON_TEACHER_LOGITS
            if self.softened and on_logits and term.loss.target_temperature is None:
                raise UserError(
                    f"losses.{name} compares raw logits, but {self.option} has probabilities or labels; use logit_kd, "
                    "or store logits."
                )

    def rows_of(self, ids: Sequence[str], split: str) -> np.ndarray:
        """Return which of the logits answer these examples; raises UserError unless all have an answer."""
        row_of = self.rows.get(split, {})
        missing = [example_id for example_id in ids if example_id not in row_of]
        if missing:
            sample = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
            raise UserError(
                f"{self.option} lacks {len(missing):,} of the {len(ids):,} examples of the split '{split}' "
                f"(ids {sample}); add them, or name the column of the data that the ids are from: teacher.id_column=..."
            )
        return np.array([row_of[example_id] for example_id in ids], dtype=np.int64)

    def logits_for(self, examples: Dataset, split: str) -> np.ndarray:
        """Return the logits (examples, C) of a split as it was read, before encoding."""
        return self.logits[self.rows_of(ids_of(examples, self.id_column, split), split)]

    def batch(self, rows: Sequence[int], mask: torch.Tensor) -> dict[str, Any]:
        """Return what `distillation.restore` takes, as `CachedFeatures.batch` does; there are only logits."""
        return {"logits": torch.from_numpy(self.logits[rows]), "hidden": {}, "attention": {}}


def ids_of(examples: Dataset, id_column: str | None, split: str) -> list[str]:
    """Return the ids of a split's examples: a column of the data, or for None `idx`, or without one the row numbers.

    Raises UserError when the data have no such column, and for an id that several examples have.
    """
    if id_column is None and "idx" not in examples.column_names:
        return [str(n) for n in range(len(examples))]
    column = id_column or "idx"
    if column not in examples.column_names:
        raise UserError(
            f"teacher.id_column={column} is no column of the split '{split}', which has "
            f"{', '.join(examples.column_names)}."
        )
    ids = ["" if value is None else str(value) for value in examples[column][:]]
    seen: dict[str, int] = {}
    for row, example_id in enumerate(ids):
        if not example_id:
            raise UserError(f"row {row} of the split '{split}' has no id in its column '{column}'; give every row one.")
        if example_id in seen:
            raise UserError(
                f"rows {seen[example_id]} and {row} of the split '{split}' have both the id {example_id} in "
                f"'{column}', so an answer cannot be told to be of one of them; make ids unique, or name another "
                "column with teacher.id_column=..."
            )
        seen[example_id] = row
    return ids
