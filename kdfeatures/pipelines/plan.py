"""A distillation as far as configs tell: every stage's objective fits the models that there will be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from transformers import PreTrainedConfig

from kdfeatures.alignment import TaskAwareProjections
from kdfeatures.config.objective import bind
from kdfeatures.config.settings import DistillSettings, FinetuneSettings, StageSettings
from kdfeatures.distillation.bound import BoundObjective
from kdfeatures.distillation.gradients import check_measurable
from kdfeatures.errors import ConfigError, UserError
from kdfeatures.models.configs import load_config
from kdfeatures.models.encoders import random_config
from kdfeatures.models.planned import planned_student, planned_teacher
from kdfeatures.models.teachers import option_of

WITH_ONE_LABEL = ("sequence", "multilabel", "relevance")  # kinds of tasks: labels of a whole text


class Plan(NamedTuple):
    """A stage that can be run: its objective fits models of these configs.

    teacher: None for stored outputs. others: the further teachers, by name.
    """

    stage: StageSettings
    student: PreTrainedConfig
    teacher: PreTrainedConfig | None
    objective: BoundObjective
    others: Mapping[str, PreTrainedConfig]


def plan_stages(settings: DistillSettings, output_dir: Path) -> list[Plan]:
    """Return the plan of every stage; raises UserError for what shows to be wrong before models are loaded."""
    if settings.teacher_training is not None:
        plan_finetuning(settings.teacher_training, output_dir)
    first_student: PreTrainedConfig | None = None
    plans: list[Plan] = []
    encoder = None if settings.teacher_training is None else settings.teacher_training.model
    for stage in settings.stages:
        option = "teacher.path" if stage.task == settings.task else f"stages.{stage.key}.teacher.path"
        teacher = first_student if stage.born_again else planned_teacher(stage.teacher, encoder, stage.task, option)
        first_student = first_student or planned_student(stage.student, teacher, stage.task)
        others = {
            name: load_config(other.source(option_of(name)), option_of(name)) for name, other in stage.others.items()
        }
        objective = bind(stage.objective, first_student, teacher, others, outputs=stage.task.outputs)
        if stage.trainer is not None:
            arguments = stage.trainer.training_arguments(
                output_dir, metric=stage.task.main_metric, seed=stage.seed, find_unused_parameters=False
            )
            sharded = bool(arguments.fsdp)
            check_measurable(
                sharded=sharded,
                compiled=arguments.torch_compile,
                balanced=objective.balance is not None,
                explained=stage.explain,
            )
            objective.check_training(
                sharded=sharded,
                streaming=stage.data.streaming,
                checkpointed=bool(arguments.activation_checkpointing),
                compiled=arguments.torch_compile,
            )
        _check_filters(stage, objective)
        plans.append(Plan(stage, first_student, teacher, objective, others))
    _check_idle(plans)
    return plans


def plan_finetuning(settings: FinetuneSettings, output_dir: Path) -> None:
    """Raise UserError for what shows to be wrong with a fine-tuning before its model is loaded."""
    if settings.model.path is not None:
        load_config(settings.model.source, "model.path")
    elif settings.task.embedded is not None:
        random_config(settings.model, settings.task)
    settings.trainer.training_arguments(
        output_dir, metric=settings.task.main_metric, seed=settings.seed, find_unused_parameters=False
    )


def _check_filters(stage: StageSettings, objective: BoundObjective) -> None:
    """Raise UserError for filters that should learn a task which gives them no label a text."""
    modules = objective.projections.modules()
    if not any(isinstance(module, TaskAwareProjections) for module in modules):
        return
    task = stage.task
    if not task.has_labels or task.kind not in WITH_ONE_LABEL:
        raise UserError(
            f"projection=task_aware learns its filters from the labels of whole texts, which task '{task.name}' of "
            f"kind {task.kind} has not; use projection=linear."
        )


def _check_idle(plans: Sequence[Plan]) -> None:
    """Raise ConfigError for a further teacher that no stage learns anything from."""
    for plan in plans:
        for name in plan.others:
            if not any(other.objective.needs(name) for other in plans if name in other.others):
                raise ConfigError(
                    f"no term learns anything from the teacher '{name}'", key="objective.idle_teacher", teacher=name
                )
