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
    Names are compared as `by_name` does. whose and option: the model and the setting for `force` that errors name,
    None where there is no such setting.
    force: where the names do not tell the order, take it as it is; names that do match are still followed.
    Raises UserError for another number of classes, and without `force` for names that are generic or differ.
    """
    assert id2label is not None
    names = class_names(id2label)
    if not labels:
        if len(names) != 1:
            raise UserError(f"{whose} has {len(names)} outputs, but regression needs 1; choose another model")
        return [0]
    if len(names) != len(labels):
        raise UserError(
            f"{whose} has {len(names)} classes ({', '.join(names)}), but the task has {len(labels)} "
            f"({', '.join(labels)}); choose a model trained for this task"
        )
    position = by_name(names, labels)
    if len(position) == len(labels):
        return [position[label] for label in labels]
    if force:
        return list(range(len(names)))
    fix = "set id2label in its config.json"
    if option is not None:
        fix += f", or take the order as it is with {option}=true"
    if is_generic(names):
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
    if any(is_generic(list(id2label.values())) for id2label in (of_teacher, of_student)):
        return None
    return align_labels(of_teacher, class_names(of_student), whose="the teacher", option=None)


def by_name(names: Sequence[str], labels: Sequence[str]) -> dict[str, int]:
    """Return which of `names` each label is, {label: position}; labels that none of them is are left out.

    Equal names belong together. The others are compared without regard to case and to what separates words (spaces,
    underscores, hyphens), where that leaves one name for one label: `Not-Entailment` is `not_entailment`, but of the
    names `c` and `C` none is `C-`.
    """
    found = {label: names.index(label) for label in labels if names.count(label) == 1}
    taken = set(found.values())
    others = [_plain(name) for position, name in enumerate(names) if position not in taken]
    missing = [_plain(label) for label in labels if label not in found]
    for label in labels:
        plain = _plain(label)
        if label not in found and others.count(plain) == missing.count(plain) == 1:
            found[label] = next(n for n, name in enumerate(names) if n not in taken and _plain(name) == plain)
    return found


def class_names(id2label: Mapping[Any, str]) -> list[str]:
    """Return the class names of a config in the order of their ids."""
    return [str(name) for _, name in sorted(id2label.items(), key=lambda item: int(item[0]))]


def is_generic(names: Sequence[str]) -> bool:
    """Whether the names are transformers' own, or numbers, and so say nothing of the classes."""
    return all(re.fullmatch(r"(label)?\d+", _plain(str(name))) for name in names)


def _plain(name: str) -> str:
    # a hyphen at an end separates nothing: the mark A- is not A, the score -1 is not 1
    return re.sub(r"(?<=[^\W_])[\s_-]+(?=[^\W_])", "", name.strip()).casefold()
