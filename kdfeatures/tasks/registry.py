"""Kinds of tasks: what a model's head, its inputs and its scores are. A kind is a file; a task names one."""

from kdfeatures.tasks.base import TaskType
from kdfeatures.tasks.masked_lm import MaskedTextTask, PlainTextTask
from kdfeatures.tasks.sequence import SequenceTask
from kdfeatures.tasks.task import Task
from kdfeatures.tasks.token import TokenTask

_KINDS: dict[str, TaskType] = {
    "sequence": SequenceTask(),
    "tokens": TokenTask(),
    "text": MaskedTextTask(),
    "plain_text": PlainTextTask(),
}

__all__ = ["TaskType", "task_type"]


def task_type(task: Task) -> TaskType:
    """Return the kind of a task."""
    return _KINDS[task.kind]
