"""The configs that teacher and student of a run will have, before any weights are loaded."""

from __future__ import annotations

from transformers import PreTrainedConfig

from kdfeatures.errors import UserError
from kdfeatures.models.configs import load_config
from kdfeatures.models.encoders import EncoderSpec, random_config
from kdfeatures.models.students import StudentSpec, planned_config
from kdfeatures.models.teachers import TeacherSettings
from kdfeatures.tasks.task import Task


def planned_teacher(
    teacher: TeacherSettings, own: EncoderSpec | None, task: Task, option: str = "teacher.path"
) -> PreTrainedConfig | None:
    """Return the config of the teacher that there is or will be; None for stored outputs.

    own: of the teacher that a generated task trains for itself. option: how the user names its path.
    """
    if teacher.outputs is not None:
        return None
    if teacher.path is not None:
        return load_config(teacher.source(option), option)
    if task.embedded is None or own is None:
        raise UserError(
            f"task={task.name} needs a teacher: give {option}=FOLDER_OR_HUB_ID, for instance one that "
            f"`kdfeatures finetune task={task.name} model.path=...` made."
        )
    return random_config(own, task)


def planned_student(student: StudentSpec, teacher: PreTrainedConfig | None, task: Task) -> PreTrainedConfig:
    """Return the config of the student; teacher: None where it has a path of its own."""
    if student.path is not None:
        return load_config(student.source, "student.path")
    assert teacher is not None  # stored outputs need a student with a path
    return planned_config(student, teacher, task)
