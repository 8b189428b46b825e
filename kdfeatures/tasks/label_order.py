"""Bring a model's classes into the order of the task.

MNLI checkpoints disagree on the order of their classes; logits matched by position would teach the wrong
class without any error (roberta-large-mnli scores 4.3% so, and 90.6% aligned by name).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from kdfeatures.errors import UserError


def align_labels(
    id2label: Mapping[int, str] | Mapping[str, str] | None,
    labels: Sequence[str],
    *,
    whose: str,
    force: bool = False,
    option: str | None = "teacher.force",
) -> list[int]:
    """Return p such that `logits[:, p]` has the classes in the order of `labels`.

    id2label: from a model's config, which has them once it is made, ids 0..C-1. labels: the task's class names, empty
    for regression.
    Names are compared without regard to case, spaces, underscores and hyphens. whose and option: the model and
    the setting for `force` that errors name, None where there is no such setting.
    force: where the names do not tell the order, take it as it is; names that do match are still followed.
    Raises UserError for another number of classes, and without `force` for names that are generic or differ.
    """
    assert id2label is not None
    names = _in_order(id2label)
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
    expected = [_plain(label) for label in labels]
    if set(position) == set(expected) and len(position) == len(names):
        return [position[label] for label in expected]
    if force:
        return list(range(len(names)))
    fix = "set id2label in its config.json"
    if option is not None:
        fix += f", or take the order as it is with {option}=true"
    if _is_generic(names):
        raise UserError(
            f"{whose} has the generic class names {', '.join(names)}, so their order cannot be matched to "
            f"{', '.join(labels)}; {fix}"
        )
    model_classes, task_classes = ", ".join(names), ", ".join(labels)
    raise UserError(f"{whose} has the classes {model_classes}, but the task has {task_classes}; {fix}")


def columns_of(teacher: Any, student: Any) -> list[int] | None:
    """Return p such that `teacher_logits[..., p]` has the classes in the student's order, by the names of both.

    None where the names do not tell: without configs, for regression, and where one side has no names of its own.
    Raises UserError for classes of other names or another number.
    """
    of_teacher, of_student = (getattr(getattr(model, "config", None), "id2label", None) for model in (teacher, student))
    heads = [
        type(model).__name__.endswith(("ForSequenceClassification", "ForTokenClassification"))
        for model in (teacher, student)
    ]
    if not all(heads) or of_teacher is None or of_student is None or len(of_student) == 1:
        return None
    if any(_is_generic(list(id2label.values())) for id2label in (of_teacher, of_student)):
        return None
    return align_labels(of_teacher, _in_order(of_student), whose="the teacher", option=None)


def _in_order(id2label: Mapping[Any, str]) -> list[str]:
    return [str(name) for _, name in sorted(id2label.items(), key=lambda item: int(item[0]))]


def _is_generic(names: Sequence[str]) -> bool:
    return all(re.fullmatch(r"(label)?\d+", _plain(str(name))) for name in names)


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).casefold()
