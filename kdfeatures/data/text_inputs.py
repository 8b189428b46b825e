"""The same as kdfeatures.data.inputs.TaskData for text without labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from datasets import Dataset, IterableDataset
from transformers import PreTrainedTokenizerBase

from kdfeatures.data.corpus import Texts, held_out, in_memory, load_text
from kdfeatures.data.load import encode
from kdfeatures.data.settings import DataSettings
from kdfeatures.data.subsets import subset
from kdfeatures.errors import UserError
from kdfeatures.tasks.mlm_masking import with_fixed_masks
from kdfeatures.tasks.registry import task_type
from kdfeatures.tasks.task import Task
from kdfeatures.tokenization.teacher_columns import Tokenizers, with_teacher_inputs

OWN = "own"  # of the training examples: those of the task


@dataclass(frozen=True)
class TextData:
    """The splits of a text, encoded on demand with one tokenizer."""

    task: Task
    raw: Mapping[str, Texts]
    tokenizer: PreTrainedTokenizerBase
    max_length: int
    others: Tokenizers = field(default_factory=dict)
    encoded: dict[str, Dataset] = field(default_factory=dict)  # for scoring: the splits that were asked for
    truncated: ClassVar[dict[str, dict[str, int]]] = {}  # text is cut into blocks, and none of it lost

    @classmethod
    def load(
        cls, task: Task, data: DataSettings, tokenizer: PreTrainedTokenizerBase, others: Tokenizers | None = None
    ) -> TextData:
        """Load the text; see kdfeatures.data.corpus for what may be wrong with it.

        Raises UserError for teachers of other tokenizers where a text is not an example, or a stream.
        """
        if others and (task.text_reading.blocks or data.streaming):
            wrong = "data.streaming=true" if data.streaming else "task.reading.blocks=true"
            raise UserError(
                f"{wrong} cuts text by the student's tokens, but the teacher has another tokenizer and needs whole "
                f"texts; set {wrong.replace('true', 'false')}."
            )
        raw = load_text(task, data.path, revision=data.revision, streaming=data.streaming)
        if task_type(task).scores:
            raw = held_out(raw, task)
        return cls(task, raw, tokenizer, data.max_length, others or {})

    def split(self, name: str) -> Dataset:
        """Return an encoded split for scoring, in memory and with the same masks in every run; UserError without it."""
        if name not in self.encoded:
            self.encoded[name] = self._encoded(name)
        return self.encoded[name]

    def _encoded(self, name: str) -> Dataset:
        if self.task.splits.get(name) not in self.raw:
            raise UserError(
                f"the text has no split '{name}'; give a file whose name begins with it, or for 'validation' "
                "task.reading.held_out=500."
            )
        texts = in_memory(self.raw[self.task.splits[name]])
        if not len(texts):
            raise UserError(f"the split '{name}' of the text has no texts but blank ones.")
        examples = encode(texts, self.tokenizer, self.task, self.max_length)
        return with_fixed_masks(examples, self.tokenizer, self.task.text_reading.masked)

    def validation(self) -> Dataset | None:
        """Return the encoded validation split, or None when nothing is scored or there is none."""
        present = self.task.splits.get("validation") in self.raw
        return self.split("validation") if present and task_type(self.task).scores else None

    def reported(self, split: str) -> dict[str, Dataset]:
        """Return the split to report; none when nothing is scored."""
        return {split: self.split(split)} if task_type(self.task).scores else {}

    def training_texts(self, data: DataSettings) -> Iterator[str]:
        """Yield the texts of the training split."""
        (column,) = self.task.text
        yield from (row[column] for row in self.raw[self.task.splits["train"]])

    def train(
        self, data: DataSettings, seed: int, augment: Callable[..., Dataset] | None = None
    ) -> dict[str, Dataset | IterableDataset]:
        """Return the training examples of `data.train_examples` texts; a stream is mixed anew in each epoch.

        They are all OWN, there is no other part of them. With reading.masked_once they are masked, by the seed.
        """
        if self.task.splits["train"] not in self.raw:
            raise UserError(f"the text has no files for training; it has the splits {', '.join(self.raw)}.")
        texts = self.raw[self.task.splits["train"]]
        if isinstance(texts, IterableDataset):
            chosen = texts if data.train_examples is None else texts.take(data.train_examples)
            stream = task_type(self.task).encode(chosen, self.tokenizer, self.task, self.max_length)
            stream = self._masked_once(stream, seed)
            return {OWN: stream.shuffle(seed=seed, buffer_size=self.task.text_reading.shuffle)}
        if not len(texts):
            raise UserError("the training text has no texts but blank ones.")
        chosen = subset(texts, data.train_examples, seed)
        encoded = encode(chosen, self.tokenizer, self.task, self.max_length)
        if not self.others:
            return {OWN: self._masked_once(encoded, seed)}
        return {OWN: with_teacher_inputs(chosen, encoded, self.task, self.tokenizer, self.others, self.max_length)}

    def _masked_once(self, examples: Dataset | IterableDataset, seed: int) -> Dataset | IterableDataset:
        reading = self.task.text_reading
        if not (task_type(self.task).over_vocabulary and reading.masked_once):
            return examples
        return with_fixed_masks(examples, self.tokenizer, reading.masked, seed=seed)
