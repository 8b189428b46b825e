"""The teachers of a prepared distillation: cached, asked for the splits that are reported, and described."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import IterableDataset

from kdfeatures.alignment import PcaProjections, TaskAwareProjections, projections_for
from kdfeatures.cache import FeatureCache
from kdfeatures.errors import UserError
from kdfeatures.losses.ensemble import averaged
from kdfeatures.mapping.pairs import DEFAULT_TEACHER
from kdfeatures.models.load import move
from kdfeatures.models.teachers import check_teacher
from kdfeatures.pipelines.prepare import DistillationSetup
from kdfeatures.pipelines.scores import cached_logits, predict_splits, scores_of
from kdfeatures.runs.results import describe_model, describe_outputs
from kdfeatures.tasks.registry import task_type
from kdfeatures.tokenization.teacher_columns import of_teacher, without_teachers
from kdfeatures.training.calibration import fit_heads, fit_maps, fit_pca
from kdfeatures.training.distributed import is_first
from kdfeatures.training.fsdp import shard_teacher
from kdfeatures.training.task_filters import fit_task_filters

logger = logging.getLogger(__name__)

Logits = dict[str, dict[str, np.ndarray]]  # {teacher: {split: (examples, C)}}


def move_teachers(setup: DistillationSetup) -> None:
    """Move the teachers to where the student is trained, as a whole or this process's shard of them."""
    for teacher in setup.teachers.values():
        if setup.shards_teachers:
            shard_teacher(teacher.loaded, setup.arguments.device)
        elif teacher.model is not None:
            move(teacher.model, setup.arguments.device)


def fit_maps_of(setup: DistillationSetup, seed: int, checkpoint: str | None) -> None:
    """Fit maps that are measured and heads that are matched; a run that goes on takes those of its checkpoint."""
    models = {name: teacher.model for name, teacher in setup.teachers.items()}
    folder = None if checkpoint is None else Path(checkpoint)
    for fit in (fit_maps, fit_heads):
        fit(
            setup.objective,
            setup.student,
            models,
            setup.examples,
            setup.tokenizer,
            seed,
            folder,
            setup.other_tokenizers,
        )


def fit_projections_of(setup: DistillationSetup, seed: int) -> None:
    """Fit projections along principal directions, and filters that learn the task first. UserError for a stream."""
    for name, teacher in setup.teachers.items():
        projections, its_tokenizer = projections_for(setup.objective.projections, name), teacher.tokenizer
        if isinstance(projections, PcaProjections) and projections.layers:
            if isinstance(setup.examples, IterableDataset):
                raise UserError(
                    "projection=pca is fitted to chosen examples, which a stream cannot give; use projection=linear."
                )
            its_examples = of_teacher(setup.examples, name)
            fit_pca(projections, teacher.loaded, its_examples, its_tokenizer or setup.tokenizer, seed)
        if isinstance(projections, TaskAwareProjections):
            labelled = setup.examples.select(np.flatnonzero(setup.labelled))
            move(setup.student, teacher.loaded.device)
            losses = fit_task_filters(
                projections,
                setup.student,
                teacher.loaded,
                (without_teachers(labelled), of_teacher(labelled, name)),
                (setup.tokenizer, its_tokenizer or setup.tokenizer),
                setup.task.num_labels,
                seed,
            )
            if losses and is_first():
                of_sides = ", ".join(f"{side} {loss:.3f}" for side, loss in losses.items())
                logger.info(f"Task-aware filters have learned the task, loss {of_sides}.")


def caches_of(setup: DistillationSetup) -> dict[str, FeatureCache]:
    """Return the caches of the teachers by name; none with cache=off, which stored outputs need."""
    if setup.cache is None:
        return {}
    teachers = setup.teachers.items()
    return {
        name: FeatureCache(setup.cache, teacher.loaded, teacher.tokenizer or setup.tokenizer)
        for name, teacher in teachers
    }


def teacher_logits(setup: DistillationSetup, caches: Mapping[str, FeatureCache]) -> Logits:
    """Return the teachers' logits on the reported splits; of whole ones without a cache in the first process only."""
    if setup.stored is not None:
        return {DEFAULT_TEACHER: setup.stored}
    if caches:
        return {
            name: cached_logits(
                setup.task, cache, setup.reported_by(name), setup.teachers[name].columns, **ranks_of(setup)
            )
            for name, cache in caches.items()
        }
    if not (is_first() or setup.shards_teachers):
        return {}
    batch_size = setup.arguments.per_device_eval_batch_size
    return {
        name: predict_splits(
            setup.task,
            teacher.loaded,
            setup.reported_by(name),
            teacher.tokenizer or setup.tokenizer,
            teacher.columns,
            batch_size=batch_size,
            title="teacher" if name == DEFAULT_TEACHER else f"teacher {name}",
            keep=not setup.shards_teachers,  # of whose passes every process is a part
        )
        for name, teacher in setup.teachers.items()
    }


def ranks_of(setup: DistillationSetup) -> dict[str, int]:
    """Return which of how many processes this is, as the cache takes it."""
    return {"rank": setup.arguments.process_index, "world": setup.arguments.world_size}


def check_teachers(logits_of_teachers: Logits, setup: DistillationSetup, split: str) -> None:
    """Raise UserError when a teacher whose logits on `split` are known is no better than a constant there.

    Unless it is shuffled, and meant to be.
    """
    task = setup.task
    for name, logits in logits_of_teachers.items():
        if split in logits and not setup.teachers[name].shuffled:
            whose = "the teacher" if name == DEFAULT_TEACHER else f"the teacher {name}"
            check_teacher(logits[split], setup.reported_by(name)[split], task, split, whose=whose)


def describe_teachers(setup: DistillationSetup, logits_of_teachers: Logits) -> dict[str, Any]:
    """Return what results.json says of the teachers."""
    entries = {}
    for name, teacher in setup.teachers.items():
        reported = setup.reported_by(name)
        scores = scores_of(
            logits_of_teachers[name], {split: reported[split] for split in logits_of_teachers[name]}, setup.task
        )
        entries[name] = (
            describe_outputs(teacher.path, scores)
            if teacher.model is None
            else describe_model(teacher.path, teacher.model, scores)
        )
    if len(entries) == 1:
        return {"teacher": entries[DEFAULT_TEACHER]}
    shares = setup.objective.shares
    splits = setup.reported if task_type(setup.task).answers_are_logits else ()
    joint = {
        split: averaged(
            torch.stack([torch.from_numpy(logits_of_teachers[name][split]) for name in shares]),
            torch.tensor(list(shares.values())),
            temperature=1.0,
            independent=setup.task.outputs == "labels",
        ).numpy()
        for split in splits
    }
    return {
        "teacher": entries[DEFAULT_TEACHER],
        "teachers": [
            {
                "name": name,
                "share": shares.get(name, 0.0),
                "shuffled": setup.teachers[name].shuffled,
                "permuted": setup.teachers[name].permuted,
                "mapping": mapping_of(setup, name),
            }
            | entry
            for name, entry in entries.items()
        ],
        "ensemble": scores_of(joint, {split: setup.reported[split] for split in splits}, setup.task),
    }


def mapping_of(setup: DistillationSetup, teacher: str) -> list[tuple[int, int]]:
    """Return the pairs of layers that are compared with a teacher's, each once; of maps that move all candidates."""
    terms = setup.objective.terms.values()
    pairs = (pair for term in terms if term.teacher == teacher for pair in term.pairs)
    return sorted({(pair.student, pair.teacher) for pair in pairs})
