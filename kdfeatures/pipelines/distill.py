"""One distillation: the teacher is scored and checked, the student trained and scored, both reported."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from datasets import IterableDataset
from omegaconf import DictConfig
from transformers import Trainer

from kdfeatures.alignment.projections import PcaProjections, projections_for
from kdfeatures.cache import CachedCollator, CachedTeachers, FeatureCache, logits_for, needed, with_rows
from kdfeatures.data.predictions_file import POOL
from kdfeatures.distillation.distiller import Distiller
from kdfeatures.distillation.objective import DEFAULT_TEACHER
from kdfeatures.errors import UserError
from kdfeatures.evaluation.metrics import main_metric
from kdfeatures.pipelines.inputs import AUGMENTED, counts_of, logits_of, scores_of
from kdfeatures.pipelines.outputs import of_training, results_of, save_run
from kdfeatures.pipelines.prepare import DistillationSetup
from kdfeatures.pipelines.teachers import (
    caches_of,
    check_teachers,
    described,
    fit_maps_of,
    mapping_of,
    move_teachers,
    ranks_of,
    teacher_logits,
)
from kdfeatures.runs.loss_tables import LEGEND, first_batch_text, report_text
from kdfeatures.runs.results import describe_model, retained
from kdfeatures.training.build import make_trainer, train
from kdfeatures.training.calibration import fit_pca, heads_of
from kdfeatures.training.callbacks import maps_of
from kdfeatures.training.distributed import is_first
from kdfeatures.training.fsdp import whole
from kdfeatures.training.trainer import take_projections


def distil(
    cfg: DictConfig, output_dir: Path, checkpoint: str | None, *, earlier: Sequence[Path] = ()
) -> dict[str, Any] | None:
    """Train a student in `output_dir`, from a checkpoint there if there is one, and write its results.

    cfg: a composed run config with a teacher.path and without stages. earlier: folders of earlier stages, the latest
    last, whose projections are taken over. Of several processes the first evaluates and returns the results, the
    others None.
    """
    start = time.monotonic()
    job = DistillationSetup.prepare(cfg, output_dir)
    take_projections(job.objective.projections, earlier)
    move_teachers(job)
    fit_maps_of(job, cfg.seed, checkpoint)
    caches = caches_of(job)
    of_teachers = teacher_logits(job, caches)
    if is_first() and job.task.has_labels and not cfg.teacher.force and job.objective.needs_teacher:
        check_teachers(of_teachers, job, cfg.split)
    report = job.report() if cfg.explain else None
    told = job.maps_text() if report is None else f"{LEGEND}\n\n{report_text(report)}"
    if told and is_first():
        print(told, flush=True)
    trainer = trainer_of(cfg, job, caches, None if report is None else partial(_add_first_batch, report))
    seconds = train(trainer, checkpoint)
    trainer.model.detach()
    if not is_first():
        return None
    student, task = whole(job.student, trainer, job.task), job.task
    logits = logits_of(
        task,
        student,
        job.reported,
        job.tokenizer,
        None,
        batch_size=job.arguments.per_device_eval_batch_size,
        title="student",
    )
    student_scores = scores_of(logits, job.reported, task)
    of_teachers = described(job, of_teachers)
    metric = main_metric(task)
    own, reference = student_scores.get(cfg.split), of_teachers["teacher"]["metrics"].get(cfg.split)
    results = results_of(
        "distill",
        cfg,
        task,
        start,
        recipe=cfg.recipe_name,
        mapping=mapping_of(job, DEFAULT_TEACHER),
        maps=maps_of(job.objective, trainer),
        heads=heads_of(job.objective),
        student=describe_model(str(output_dir), student, student_scores),
        retained=retained(own[metric], reference[metric]) if own and reference else None,
        train_examples=_examples(job, trainer),
        labelled_examples=int(job.labelled.sum()) if job.objective.needs_labels else 0,
        pool_examples=job.added.get(POOL, 0),
        augmented_examples=job.added.get(AUGMENTED, 0),
        examples=counts_of(job.reported),
        **of_teachers,
        report=report,
        **of_training(trainer, seconds),
    )
    save_run(output_dir, results, task, logits, job.reported)
    return results


def _examples(job: DistillationSetup, trainer: Trainer) -> int:
    """How many examples there are; of a stream, how many were read."""
    if isinstance(job.examples, IterableDataset):
        step = job.arguments.train_batch_size * job.arguments.gradient_accumulation_steps * job.arguments.world_size
        return trainer.state.global_step * step
    return len(job.examples)


def trainer_of(
    cfg: DictConfig,
    job: DistillationSetup,
    caches: Mapping[str, FeatureCache],
    on_first_batch: Callable[[dict[str, Any]], None] | None,
) -> Trainer:
    """Return the Trainer of the student, which learns from the teachers' caches where there are any."""
    objective, examples = job.objective, job.examples
    for name, teacher in job.teachers.items():
        projections = projections_for(objective.projections, name)
        if isinstance(projections, PcaProjections) and projections.layers:
            if isinstance(examples, IterableDataset):
                raise UserError(
                    "projection=pca is fitted to chosen examples, which a stream cannot give; use projection=linear."
                )
            fit_pca(projections, teacher.model, examples, job.tokenizer, cfg.seed)
    taking = [name for name in job.teachers if objective.needs(name)]
    cached = None
    if job.outputs is not None and taking:
        cached = job.outputs  # its examples have their rows
    elif caches and taking:
        logits = logits_for(job.task)
        found = {
            name: caches[name].features(examples, needed(objective, name, logits=logits), **ranks_of(job))
            for name in taking
        }
        cached = CachedTeachers(found) if len(job.teachers) > 1 else found[DEFAULT_TEACHER]
        examples = with_rows(examples)
        for teacher in job.teachers.values():
            teacher.model.to("cpu")  # training does without them
    others = {name: (None if cached is not None else one.model, one.columns) for name, one in job.teachers.items()}
    main, columns = others.pop(DEFAULT_TEACHER)
    permuted = [name for name, one in job.teachers.items() if one.permuted]
    distiller = Distiller(job.student, main, objective, columns, others=others, permuted=permuted)
    trainer = make_trainer(
        distiller, job.arguments, cfg.trainer, job.task, job.tokenizer, examples, job.validation, on_first_batch
    )
    if cached is not None:
        trainer.data_collator = CachedCollator(trainer.data_collator, cached)
    return trainer


def _add_first_batch(report: dict[str, Any], found: dict[str, Any]) -> None:
    report["first_batch"] = found
    if is_first():
        print(f"\n{first_batch_text(found)}\n", flush=True)
