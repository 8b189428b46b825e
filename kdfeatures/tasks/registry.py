"""Kinds of tasks: what a model's head, its inputs and its scores are. A kind is a file; a task names one."""

from kdfeatures.tasks.base import Kind
from kdfeatures.tasks.masked_lm import MaskedTextKind, PlainTextKind
from kdfeatures.tasks.sequence import SequenceKind
from kdfeatures.tasks.task import Task
from kdfeatures.tasks.token import TokensKind

_KINDS: dict[str, Kind] = {
    "sequence": SequenceKind(),
    "tokens": TokensKind(),
    "text": MaskedTextKind(),
    "plain_text": PlainTextKind(),
}

__all__ = ["Kind", "kind_of"]


def kind_of(task: Task) -> Kind:
    """Return the kind of a task."""
    return _KINDS[task.kind]
