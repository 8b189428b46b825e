"""Who teaches: what `teacher` and `teachers` of a run config say, checked before anything is loaded."""

from __future__ import annotations

import math

from omegaconf import DictConfig

from kdfeatures.config.augmentation import augmentation_settings
from kdfeatures.config.cache import cache_settings
from kdfeatures.config.schema import OtherTeacherConfig, TeacherConfig, section
from kdfeatures.distillation.objective import DEFAULT_TEACHER
from kdfeatures.errors import UserError
from kdfeatures.models.teachers import check_dtype


def teacher_settings(cfg: DictConfig) -> tuple[TeacherConfig, dict[str, OtherTeacherConfig]]:
    """Return the main teacher's settings and those of further ones by name; raises UserError for what cannot be."""
    main = section(cfg, "teacher", TeacherConfig)
    check_dtype(main.dtype)
    others = {name: _other(name, node) for name, node in cfg.teachers.items()}
    weights = {"teacher.weight": main.weight} | {f"teachers.{name}.weight": one.weight for name, one in others.items()}
    for option, weight in weights.items():
        if not 0 <= weight < math.inf:
            raise UserError(f"{option}={weight} must be a finite number that is not negative.")
    if not any(weights.values()):
        raise UserError(f"{' and '.join(weights)} are all 0, so there is no distribution to learn; make one positive.")
    if main.outputs is not None:
        _check_outputs(cfg, main)
    elif main.id_column is not None:
        raise UserError(f"teacher.id_column={main.id_column} has no effect without teacher.outputs; leave it out.")
    return main, others


def _other(name: str, node: DictConfig) -> OtherTeacherConfig:
    option = f"teachers.{name}"
    if not name.isidentifier() or name == DEFAULT_TEACHER:
        raise UserError(f"{option}: a teacher's name must be a word other than {DEFAULT_TEACHER}, such as teachers.b.")
    if not isinstance(node, DictConfig):
        raise UserError(f"{option}={node} must have a path and a weight: {option}={{path: {node}, weight: 1.0}}.")
    settings = section({option: {"shuffled": False, "permuted": False, **node}}, option, OtherTeacherConfig)
    controls = [control for control in ("shuffled", "permuted") if getattr(settings, control)]
    if controls and settings.weight:
        raise UserError(
            f"{option} is {controls[0]}, so its answers mean nothing, but has {option}.weight={settings.weight}; "
            f"set it to 0 and let a term take its layers, such as losses.hidden.teacher={name}."
        )
    return settings


def _check_outputs(cfg: DictConfig, main: TeacherConfig) -> None:
    option = f"teacher.outputs={main.outputs}"
    if main.path is not None:
        raise UserError(f"{option} and teacher.path={main.path} are two teachers; leave out one of them.")
    if cfg.teachers:
        raise UserError(f"{option} cannot be averaged with models; leave out teachers.{next(iter(cfg.teachers))}.")
    if cfg.student.path is None:
        raise UserError(
            f"{option} has neither tokenizer nor layers to make a student of; give student.path=FOLDER_OR_HUB_ID."
        )
    if cache_settings(cfg) is not None:
        raise UserError(f"{option} is on disk already; leave out cache=auto.")
    if augmentation_settings(cfg) is not None:
        raise UserError(f"{option} has no answers to text that is made up here; leave out augmentation.")
