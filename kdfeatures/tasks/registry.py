"""Kinds of tasks: what a model's head, its inputs and its scores are. A kind is a file; a task names one."""

from kdfeatures.tasks.base import TaskType
from kdfeatures.tasks.kinds.embedding import EmbeddingTask
from kdfeatures.tasks.kinds.masked_lm import MaskedTextTask, PlainTextTask
from kdfeatures.tasks.kinds.multilabel import MultilabelTask
from kdfeatures.tasks.kinds.question import QuestionTask
from kdfeatures.tasks.kinds.relevance import RelevanceTask
from kdfeatures.tasks.kinds.sequence import SequenceTask
from kdfeatures.tasks.kinds.token import TokenTask
from kdfeatures.tasks.task import Task

_KINDS: dict[str, TaskType] = {
    "sequence": SequenceTask(),
    "tokens": TokenTask(),
    "text": MaskedTextTask(),
    "plain_text": PlainTextTask(),
    "multilabel": MultilabelTask(),
    "relevance": RelevanceTask(),
    "question": QuestionTask(),
    "embedding": EmbeddingTask(),
}

__all__ = ["TaskType", "task_type"]


def task_type(task: Task) -> TaskType:
    """Return the kind of a task."""
    return _KINDS[task.kind]
