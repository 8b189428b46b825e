"""The teachers of a distillation: loaded, cached, asked for the splits that are reported, and described."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from kdfeatures.cache import FeatureCache
from kdfeatures.config.schema import OtherTeacherConfig, TeacherConfig
from kdfeatures.distillation.objective import DEFAULT_TEACHER
from kdfeatures.losses.ensemble import averaged
from kdfeatures.models.teachers import (
    Teacher,
    check_teacher,
    check_tokenizers,
    load_teacher,
    make_ready,
    shuffle_weights,
)
from kdfeatures.pipelines.inputs import cached_logits, logits_of, scores_of
from kdfeatures.runs.results import describe_model, describe_outputs
from kdfeatures.tasks.registry import task_type
from kdfeatures.tasks.task import Task
from kdfeatures.training.calibration import fit_heads, fit_maps
from kdfeatures.training.distributed import is_first

if TYPE_CHECKING:
    from kdfeatures.pipelines.prepare import DistillationSetup

Logits = dict[str, dict[str, np.ndarray]]  # {teacher: {split: (examples, C)}}


def load_teachers(
    settings: TeacherConfig, others: Mapping[str, OtherTeacherConfig], task: Task
) -> tuple[dict[str, Teacher], PreTrainedTokenizerBase]:
    """Return all teachers by name, the main one first and in float32, and their tokenizer.

    Raises UserError as `load_teacher` does, and for a teacher with another tokenizer.
    """
    model, tokenizer, columns = load_teacher(settings.path, task, force=settings.force)
    loaded = {DEFAULT_TEACHER: Teacher(settings.path, model, columns)}
    for name, other in others.items():
        option = option_of(name)
        model, own, columns = load_teacher(other.path, task, force=settings.force, option=option)
        check_tokenizers(tokenizer, own, other.path, option=option, than=f"teacher.path={settings.path}")
        if other.shuffled:
            shuffle_weights(model)
        loaded[name] = Teacher(other.path, model, columns, shuffled=other.shuffled, permuted=other.permuted)
    return loaded, tokenizer


def option_of(name: str) -> str:
    """Return how the user names the path of a teacher."""
    return "teacher.path" if name == DEFAULT_TEACHER else f"teachers.{name}.path"


def make_all_ready(teachers: Mapping[str, Teacher], settings: TeacherConfig) -> None:
    """Put all teachers into the precision and form in which they shall run."""
    for teacher in teachers.values():
        if teacher.model is not None:
            make_ready(teacher.model, dtype=settings.dtype, compiled=settings.compile)


def move_teachers(job: DistillationSetup) -> None:
    """Move the teachers to where the student is trained."""
    for teacher in job.teachers.values():
        if teacher.model is not None:
            teacher.model.to(job.arguments.device)


def fit_maps_of(job: DistillationSetup, seed: int, checkpoint: str | None) -> None:
    """Fit maps that are measured and heads that are matched; a run that goes on takes those of its checkpoint."""
    models = {name: teacher.model for name, teacher in job.teachers.items()}
    folder = None if checkpoint is None else Path(checkpoint)
    for fit in (fit_maps, fit_heads):
        fit(job.objective, job.student, models, job.examples, job.tokenizer, seed, folder)


def caches_of(job: DistillationSetup) -> dict[str, FeatureCache]:
    """Return the caches of the teachers by name; none with cache=off, which stored outputs need."""
    if job.cache is None:
        return {}
    return {name: FeatureCache(job.cache, teacher.model, job.tokenizer) for name, teacher in job.teachers.items()}


def teacher_logits(job: DistillationSetup, caches: Mapping[str, FeatureCache]) -> Logits:
    """Return the teachers' logits on the reported splits; without a cache those of the first process only."""
    if job.stored is not None:
        return {DEFAULT_TEACHER: job.stored}
    if caches:
        return {
            name: cached_logits(job.task, cache, job.reported, job.teachers[name].columns, **ranks_of(job))
            for name, cache in caches.items()
        }
    if not is_first():
        return {}
    batch_size = job.arguments.per_device_eval_batch_size
    return {
        name: logits_of(
            job.task,
            teacher.model,
            job.reported,
            job.tokenizer,
            teacher.columns,
            batch_size=batch_size,
            title="teacher" if name == DEFAULT_TEACHER else f"teacher {name}",
        )
        for name, teacher in job.teachers.items()
    }


def ranks_of(job: DistillationSetup) -> dict[str, int]:
    """Return which of how many processes this is, as the cache takes it."""
    return {"rank": job.arguments.process_index, "world": job.arguments.world_size}


def check_teachers(found: Logits, job: DistillationSetup, split: str) -> None:
    """Raise UserError when a teacher whose logits on `split` are known is no better than a constant there.

    Unless it is shuffled, and meant to be.
    """
    reported, task = job.reported, job.task
    for name, logits in found.items():
        if split in logits and not job.teachers[name].shuffled:
            whose = "the teacher" if name == DEFAULT_TEACHER else f"the teacher {name}"
            check_teacher(logits[split], task_type(task).labels(reported[split]), task, split, whose=whose)


def described(job: DistillationSetup, found: Logits) -> dict[str, Any]:
    """Return what results.json says of the teachers."""
    entries = {}
    for name, teacher in job.teachers.items():
        scores = scores_of(found[name], {split: job.reported[split] for split in found[name]}, job.task)
        entries[name] = (
            describe_outputs(teacher.path, scores)
            if teacher.model is None
            else describe_model(teacher.path, teacher.model, scores)
        )
    if len(entries) == 1:
        return {"teacher": entries[DEFAULT_TEACHER]}
    shares = job.objective.shares
    joint = {
        split: averaged(
            torch.stack([torch.from_numpy(found[name][split]) for name in shares]),
            torch.tensor(list(shares.values())),
            temperature=1.0,
        ).numpy()
        for split in job.reported
    }
    return {
        "teacher": entries[DEFAULT_TEACHER],
        "teachers": [
            {
                "name": name,
                "share": shares.get(name, 0.0),
                "shuffled": job.teachers[name].shuffled,
                "permuted": job.teachers[name].permuted,
                "mapping": mapping_of(job, name),
            }
            | entry
            for name, entry in entries.items()
        ],
        "ensemble": scores_of(joint, job.reported, job.task),
    }


def mapping_of(job: DistillationSetup, teacher: str) -> list[tuple[int, int]]:
    """Return the pairs of layers that are compared with a teacher's, each once; of maps that move all candidates."""
    terms = job.objective.terms.values()
    return sorted({tuple(pair) for term in terms if term.teacher == teacher for pair in term.pairs})
