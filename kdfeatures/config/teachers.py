"""Who teaches: what `teacher` and `teachers` of a run config say, checked before anything is loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from kdfeatures.config.schema import section
from kdfeatures.config.switches import augmentation_settings, cache_settings
from kdfeatures.errors import UserError
from kdfeatures.mapping.pairs import DEFAULT_TEACHER
from kdfeatures.models.teachers import OtherTeacherSettings, TeacherSettings
from kdfeatures.runtime import quantized
from kdfeatures.training.distributed import process_count

OF_ITS_TRAINING = ("model", "trainer")  # how a teacher is trained that is not there yet


def teacher_settings(config: Mapping[str, Any]) -> tuple[TeacherSettings, dict[str, OtherTeacherSettings]]:
    """Return the main teacher's settings and those of further ones by name; raises UserError for what cannot be."""
    node = {key: value for key, value in config["teacher"].items() if key not in OF_ITS_TRAINING}
    main = section({"teacher": node}, "teacher", TeacherSettings)
    others = {name: _other(name, other) for name, other in config["teachers"].items()}
    weights = {"teacher.weight": main.weight}
    weights |= {f"teachers.{name}.weight": other.weight for name, other in others.items()}
    for name, weight in weights.items():
        if not 0 <= weight < math.inf:
            raise UserError(f"{name}={weight} must be a finite number that is not negative.")
    if not any(weights.values()):
        raise UserError(f"{' and '.join(weights)} are all 0, so there is no distribution to learn; make one positive.")
    if main.outputs is not None:
        _check_outputs(config, main)
    elif main.id_column is not None:
        raise UserError(f"teacher.id_column={main.id_column} has no effect without teacher.outputs; leave it out.")
    if main.fsdp:
        _check_fsdp(config, main)
    return main, others


def _other(name: str, node: Any) -> OtherTeacherSettings:
    where = f"teachers.{name}"
    if not name.isidentifier() or name == DEFAULT_TEACHER:
        raise UserError(f"{where}: a teacher's name must be a word other than {DEFAULT_TEACHER}, such as teachers.b.")
    if not isinstance(node, Mapping):
        raise UserError(f"{where}={node} must have a path and a weight: {where}={{path: {node}, weight: 1.0}}.")
    settings = section({where: node}, where, OtherTeacherSettings)
    controls = [control for control in ("shuffled", "permuted") if getattr(settings, control)]
    if controls and settings.weight:
        raise UserError(
            f"{where} is {controls[0]}, so its answers mean nothing, but has {where}.weight={settings.weight}; "
            f"set it to 0 and let a term take its layers, such as losses.hidden.teacher={name}."
        )
    return settings


def _check_fsdp(config: Mapping[str, Any], main: TeacherSettings) -> None:
    if process_count() == 1:
        raise UserError(
            "teacher.fsdp=true shards the teacher over processes, but there is one; start several with torchrun "
            "--nproc_per_node=N -m kdfeatures distill ..., or leave it out."
        )
    for option, is_set, reason in (
        (f"teacher.outputs={main.outputs}", main.outputs is not None, "has no model to shard"),
        (f"teacher.dtype={main.dtype}", main.dtype == quantized.DTYPE, "has no parameters that FSDP could shard"),
        ("teacher.compile=true", main.compile, "is not tried with shards"),
        ("cache=auto", cache_settings(config) is not None, "lets each process run the teacher on texts of its own"),
    ):
        if is_set:
            raise UserError(f"{option} {reason}; leave it out, or teacher.fsdp=true.")


def _check_outputs(config: Mapping[str, Any], main: TeacherSettings) -> None:
    outputs = f"teacher.outputs={main.outputs}"
    if main.path is not None:
        raise UserError(f"{outputs} and teacher.path={main.path} are two teachers; leave out one of them.")
    if config["teachers"]:
        other = next(iter(config["teachers"]))
        raise UserError(f"{outputs} cannot be averaged with models; leave out teachers.{other}.")
    if config["student"]["path"] is None:
        raise UserError(
            f"{outputs} has neither tokenizer nor layers to make a student of; give student.path=FOLDER_OR_HUB_ID."
        )
    if cache_settings(config) is not None:
        raise UserError(f"{outputs} is on disk already; leave out cache=auto.")
    if augmentation_settings(config) is not None:
        raise UserError(f"{outputs} has no answers to text that is made up here; leave out augmentation.")
