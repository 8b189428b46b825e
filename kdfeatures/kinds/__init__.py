"""Kinds of tasks: what a model's head, its inputs and its scores are. A kind is a file; a task names one."""

from kdfeatures.kinds.kind import Kind
from kdfeatures.kinds.sequence import SequenceKind
from kdfeatures.kinds.text import MaskedTextKind, PlainTextKind
from kdfeatures.kinds.tokens import TokensKind
from kdfeatures.tasks import Task

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
