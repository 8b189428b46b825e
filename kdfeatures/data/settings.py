"""Which examples of a task a run reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from kdfeatures.errors import UserError
from kdfeatures.ranges import Count, Range, Share
from kdfeatures.tasks.registry import task_type
from kdfeatures.tasks.task import Task


@dataclass(frozen=True)
class DataSettings:
    """Where the data are and how much of them is used.

    Args:
        path: a local copy in the Hub's layout, or for the user's files the folder their paths start from; None takes
            the Hub, and the working folder.
        revision: of data on the Hub, for which it is asked; None takes what the local cache has, else the newest.
        max_length: tokens after which texts are cut.
        streaming: text without labels is read while training.
        train_examples, labelled: how many training examples to use, and how many of them keep their label; None all.
        held_out: the share of the training examples that becomes the split `selection`.
        pool: a file of further text for training, without labels.
    """

    path: str | None = None
    revision: str | None = None
    max_length: Annotated[int, Range(1, 10**6)] = 128
    streaming: bool = False
    train_examples: Annotated[int | None, Count] = None
    held_out: Annotated[float | None, Share] = None
    labelled: Annotated[int | None, Count] = None
    pool: str | None = None

    def __post_init__(self) -> None:
        if self.revision is not None and self.path is not None and Path(self.path).exists():
            raise UserError(
                f"data.revision={self.revision} is of data on the Hub, but data.path={self.path} is here; leave one of "
                "them out."
            )


def check_data(task: Task, data: DataSettings) -> None:
    """Raise UserError for data settings that a task of this kind does not read."""
    if not task.is_text and data.streaming:
        raise UserError(
            f"data.streaming=true reads text without labels, but task '{task.name}' has labels; leave it out."
        )
    if data.pool is not None and not task_type(task).takes_pool:
        raise UserError(f"data.pool={data.pool} adds whole texts, which task '{task.name}' does not label.")
    if not task.has_labels and data.labelled is not None:
        raise UserError(f"data.labelled={data.labelled} has no effect on task '{task.name}', which has no labels.")
    if task.is_text and data.held_out is not None:
        raise UserError(
            f"data.held_out={data.held_out} has no effect on text; task.reading.held_out is how many texts to keep."
        )
