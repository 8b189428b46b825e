"""What finetune, distill and evaluate start from: the encoded splits of a task, and scores of a model on them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from datasets import Dataset, DatasetDict, IterableDataset, concatenate_datasets
from transformers import PreTrainedTokenizerBase

from kdfeatures.data.load import DATA_SEED, count_cut, encode, load_task, split_of
from kdfeatures.data.predictions_file import POOL
from kdfeatures.data.settings import DataSettings, check_data
from kdfeatures.data.stored_predictions import ROW, StoredOutputs, ids_of
from kdfeatures.data.subsets import hide_labels, hold_out, is_labelled, subset, without_labels
from kdfeatures.data.text_inputs import OWN, TextData
from kdfeatures.data.unlabeled import read_pool
from kdfeatures.errors import UserError
from kdfeatures.tasks.registry import task_type
from kdfeatures.tasks.task import Task
from kdfeatures.tokenization.teacher_columns import Tokenizers, comparable_words, of_teacher, with_teacher_inputs

logger = logging.getLogger(__name__)

ID = "teacher_id"  # a column beside the data's own, until stored outputs have been found by it
AUGMENTED = "augmented"  # of the training examples: altered copies
VALIDATION = "validation"
SELECTION = "selection"  # the split of what data.held_out keeps from training


@dataclass(frozen=True)
class TaskData:
    """A task's splits, encoded on demand with one tokenizer.

    outputs: of a teacher, for the training examples, which then carry the column ROW.
    truncated: of the splits that were encoded, {"cut": texts longer than max_length, "of": all}.
    encoded: the splits that were asked for by name.
    """

    task: Task
    raw: DatasetDict
    tokenizer: PreTrainedTokenizerBase
    max_length: int
    outputs: StoredOutputs | None = None
    others: Tokenizers = field(default_factory=dict)
    truncated: dict[str, dict[str, int]] = field(default_factory=dict)
    encoded: dict[str, Dataset] = field(default_factory=dict)

    @classmethod
    def load(
        cls,
        task: Task,
        data: DataSettings,
        tokenizer: PreTrainedTokenizerBase,
        outputs: StoredOutputs | None = None,
        others: Tokenizers | None = None,
    ) -> TaskData:
        """Load the task's data; see kdfeatures.data.load.load_task and `hold_out` for what may be wrong with them."""
        id_column = None if outputs is None else outputs.id_column
        ids = () if id_column is None else (id_column,)
        raw = load_task(task, data.path, revision=data.revision, seed=DATA_SEED, ids=ids)
        if data.held_out is not None:
            train = task.splits["train"]
            remaining, held_out = hold_out(
                split_of(raw, task, "train"),
                data.held_out,
                DATA_SEED,
                stratify=class_column(task),
                together=task_type(task).kept_together(task),
            )
            splits = {**task.splits, SELECTION: SELECTION}
            if splits.get(VALIDATION) not in raw:
                splits[VALIDATION] = SELECTION
                logger.info(f"{task.name} has no validation split: the {len(held_out)} examples held out are it.")
            task = replace(task, splits=splits)
            raw = DatasetDict({**raw, train: remaining, SELECTION: held_out})
        counts = ", ".join(f"{split} {len(examples):,}" for split, examples in raw.items())
        logger.info(f"{task.name}: {counts} examples")
        return cls(task, raw, tokenizer, data.max_length, outputs, others or {})

    def split(self, name: str) -> Dataset:
        """Return an encoded split; raises UserError when it is missing."""
        if name not in self.encoded:
            self.encoded[name] = self._encoded(split_of(self.raw, self.task, name), name)
        return self.encoded[name]

    def _encoded(self, raw: Dataset, split: str) -> Dataset:
        raw, task = task_type(self.task).as_read(raw, self.task)
        encoded = encode(raw, self.tokenizer, task, self.max_length)
        read = with_teacher_inputs(raw, encoded, task, self.tokenizer, self.others, self.max_length)
        if split not in self.truncated:
            cut = count_cut(raw, encoded, self.tokenizer, task, self.max_length)
            self.truncated[split] = {"cut": cut, "of": len(encoded)}
            self._tell_cut(split, cut, len(encoded))
            for name, other in self.others.items():
                its_cut = count_cut(raw, of_teacher(read, name), other, task, self.max_length)
                self._tell_cut(f"{split}, as the teacher {name} reads it", its_cut, len(encoded))
        return read

    def _tell_cut(self, what: str, cut: int, texts: int) -> None:
        if cut:
            logger.warning(
                f"{self.task.name} {what}: {cut:,} of {texts:,} texts are longer than data.max_length="
                f"{self.max_length} tokens and were cut; raise it where the model takes more."
            )

    def validation(self) -> Dataset | None:
        """Return the encoded validation split, or None for data that have none, and where nothing is scored."""
        present = bool(self.task.metrics) and self.task.splits.get("validation") in self.raw
        return self.split("validation") if present else None

    def training_texts(self, data: DataSettings) -> Iterator[str | list[str]]:
        """Yield the texts of the whole training split and of data.pool, one column after the other."""
        splits = [split_of(self.raw, self.task, "train")]
        splits += [] if data.pool is None else [read_pool(data.pool, self.task)]
        for examples in splits:
            for column in self.task.text:
                yield from examples[column][:] if column in examples.column_names else ()

    def train(self, data: DataSettings, seed: int, augment: Callable[..., Dataset] | None = None) -> dict[str, Dataset]:
        """Return `data.train_examples` training examples, of which `data.labelled` keep their label, and `data.pool`.

        augment: takes the first of these and their text columns and returns more, whose labels are hidden. What there
        is of them is named OWN, POOL and AUGMENTED; `joined` puts them together.
        """
        raw = self._identified(split_of(self.raw, self.task, "train"), "train")
        chosen = subset(raw, data.train_examples, seed, stratify=class_column(self.task))
        parts = {OWN: hide_labels(self._located(chosen, "train"), data.labelled, seed)}
        if data.pool is not None:
            ids = () if self.outputs is None or self.outputs.id_column is None else (self.outputs.id_column,)
            pool = self._identified(read_pool(data.pool, self.task, ids), POOL)
            parts[POOL] = self._located(pool, POOL)
        if augment is not None:
            copies = augment(chosen, self.task.text)
            if not len(copies):
                raise UserError(
                    "augmentation altered no word of the training examples: what shall replace them, "
                    "augmentation.vectors or augmentation.mlm, knows none of their words; choose another, or "
                    "augmentation=off."
                )
            parts[AUGMENTED] = without_labels(self._encoded(copies, AUGMENTED))
        if self.others and self.task.kind == "tokens":
            parts = {name: comparable_words(part, list(self.others)) for name, part in parts.items()}
        return parts

    def _identified(self, raw: Dataset, split: str) -> Dataset:
        # before rows are chosen: the id may be the row's number
        return raw if self.outputs is None else raw.add_column(ID, ids_of(raw, self.outputs.id_column, split))

    def _located(self, raw: Dataset, split: str) -> Dataset:
        if self.outputs is None:
            return self._encoded(raw, split)
        return self._encoded(raw, split).add_column(ROW, self.outputs.rows_of(raw[ID][:], split).tolist())

    def reported(self, split: str) -> dict[str, Dataset]:
        """Return the splits to report: `split`, and MNLI mismatched beside matched; none where nothing is scored."""
        if not self.task.metrics:
            return {}
        names = [split]
        for second, of in (("extra", "validation"), ("test_extra", "test")):
            if split == of and self.task.splits.get(second) in self.raw:
                names.append(second)
        return {name: self.split(name) for name in names}

    def stored(self, outputs: StoredOutputs, splits: Iterable[str]) -> dict[str, np.ndarray]:
        """Return the logits (examples, C) of those splits for which there are any."""
        available = [split for split in splits if split in outputs.rows]
        return {split: outputs.logits_for(split_of(self.raw, self.task, split), split) for split in available}


def check_scored(
    task: Task, reported: Mapping[str, Dataset], validation: Dataset | None, *, split: str, evaluates: bool
) -> None:
    """Raise UserError when a run would score labels that are hidden, before it trains.

    reported, validation: encoded. evaluates: whether training is watched on the validation split.
    """
    if not task.has_labels:
        return
    watched = {"validation": validation} if evaluates and validation is not None else {}
    for name, examples in {**watched, **reported}.items():
        hidden = int((~is_labelled(examples)).sum())
        if hidden:
            option = f"split={split}" if name in reported else "trainer.eval_strategy"
            raise UserError(
                f"{option}: {hidden:,} of the {len(examples):,} labels of {task.name} {name} are hidden, so it cannot "
                "be scored; name a split with labels, or take a share of the training examples with data.held_out=0.1 "
                "split=selection."
            )


def joined(parts: Mapping[str, Dataset | IterableDataset]) -> Dataset | IterableDataset:
    """Return the training examples as one dataset."""
    return concatenate_datasets(list(parts.values())) if len(parts) > 1 else parts[OWN]


def class_column(task: Task) -> str | None:
    """Return the column of a class for each text, whose shares a sample shall keep; None where there is none."""
    return task.label if task.kind == "sequence" and not task.is_regression else None


def load_inputs(
    task: Task,
    data: DataSettings,
    tokenizer: PreTrainedTokenizerBase,
    outputs: StoredOutputs | None = None,
    others: Tokenizers | None = None,
) -> TaskData | TextData:
    """Load the data of a task; raises UserError for what may be wrong with them, and for settings without effect.

    others: tokenizers of the teachers that have their own; see kdfeatures.tokenization.teacher_columns.
    """
    check_data(task, data)
    if task.is_text:
        return TextData.load(task, data, tokenizer, others)
    return TaskData.load(task, data, tokenizer, outputs, others)
