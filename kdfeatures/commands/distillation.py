"""One distillation: the teacher is scored and checked, the student trained and scored, both reported."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from datasets import IterableDataset
from omegaconf import DictConfig
from transformers import Trainer

from kdfeatures.cache import CachedCollator, FeatureCache, logits_for, needed, with_rows
from kdfeatures.commands.inputs import cached_logits, logits_of, scores_of
from kdfeatures.commands.job import Job
from kdfeatures.commands.report import of_training, results_of, save_run
from kdfeatures.distiller import Distiller
from kdfeatures.errors import UserError
from kdfeatures.kinds import kind_of
from kdfeatures.loss_tables import LEGEND, first_batch_text, report_text
from kdfeatures.metrics import main_metric
from kdfeatures.pca_fit import fit_pca
from kdfeatures.processes import is_first
from kdfeatures.projection import PcaProjections
from kdfeatures.results import describe_model, retained
from kdfeatures.sharding import whole
from kdfeatures.teachers import check_teacher
from kdfeatures.trainer import take_projections
from kdfeatures.training import make_trainer, train


def distil(
    cfg: DictConfig, output_dir: Path, checkpoint: str | None, *, earlier: Sequence[Path] = ()
) -> dict[str, Any] | None:
    """Train a student in `output_dir`, from a checkpoint there if there is one, and write its results.

    cfg: a composed run config with a teacher.path and without stages. earlier: folders of earlier stages, the latest
    last, whose projections are taken over. Of several processes the first evaluates and returns the results, the
    others None.
    """
    start = time.monotonic()
    job = Job.prepare(cfg, output_dir)
    take_projections(job.objective.projections, earlier)
    cache = _cache(job)
    teacher_logits = _teacher_logits(job, cache)
    if is_first() and job.task.has_labels and not cfg.teacher.force and job.objective.needs_teacher:
        truth = kind_of(job.task).truth(job.reported[cfg.split])
        check_teacher(teacher_logits[cfg.split], truth, job.task, cfg.split)
    report = job.report() if cfg.explain else None
    if report is not None and is_first():
        print(f"{LEGEND}\n\n{report_text(report)}", flush=True)
    trainer = trainer_of(cfg, job, cache, None if report is None else partial(_add_first_batch, report))
    seconds = train(trainer, checkpoint)
    trainer.model.detach()
    if not is_first():
        return None
    student, task = whole(job.student, trainer), job.task
    logits = logits_of(
        task,
        student,
        job.reported,
        job.tokenizer,
        None,
        batch_size=job.arguments.per_device_eval_batch_size,
        title="student",
    )
    teacher_scores, student_scores = (scores_of(found, job.reported, task) for found in (teacher_logits, logits))
    metric = main_metric(task)
    results = results_of(
        "distill",
        cfg,
        task,
        start,
        recipe=cfg.recipe_name,
        mapping=sorted({tuple(pair) for term in job.objective.terms.values() for pair in term.pairs}),
        teacher=describe_model(job.teacher_path, job.teacher, teacher_scores),
        student=describe_model(str(output_dir), student, student_scores),
        retained=retained(student_scores[cfg.split][metric], teacher_scores[cfg.split][metric]) if metric else None,
        train_examples=_examples(job, trainer),
        labelled_examples=int(job.labelled.sum()) if job.objective.needs_labels else 0,
        report=report,
        **of_training(trainer, seconds),
    )
    save_run(output_dir, results, task, logits, job.reported)
    return results


def _examples(job: Job, trainer: Trainer) -> int:
    """How many examples there are; of a stream, how many were read."""
    if isinstance(job.examples, IterableDataset):
        step = job.arguments.train_batch_size * job.arguments.gradient_accumulation_steps * job.arguments.world_size
        return trainer.state.global_step * step
    return len(job.examples)


def _ranks(job: Job) -> dict[str, int]:
    return {"rank": job.arguments.process_index, "world": job.arguments.world_size}


def _cache(job: Job) -> FeatureCache | None:
    job.teacher.to(job.arguments.device)
    return None if job.cache is None else FeatureCache(job.cache, job.teacher, job.tokenizer)


def _teacher_logits(job: Job, cache: FeatureCache | None) -> dict[str, np.ndarray]:
    """Return the teacher's logits on the reported splits; without a cache those of the first process only."""
    if cache is not None:
        return cached_logits(job.task, cache, job.reported, job.columns, **_ranks(job))
    if not is_first():
        return {}
    batch_size = job.arguments.per_device_eval_batch_size
    splits, columns = job.reported, job.columns
    return logits_of(job.task, job.teacher, splits, job.tokenizer, columns, batch_size=batch_size, title="teacher")


def trainer_of(
    cfg: DictConfig,
    job: Job,
    cache: FeatureCache | None,
    on_first_batch: Callable[[dict[str, Any]], None] | None,
) -> Trainer:
    """Return the Trainer of the student, which learns from the cache where there is one."""
    if isinstance(job.objective.projections, PcaProjections):
        if isinstance(job.examples, IterableDataset):
            raise UserError(
                "projection=pca is fitted to chosen examples, which a stream cannot give; use projection=linear."
            )
        fit_pca(job.objective.projections, job.teacher, job.examples, job.tokenizer, cfg.seed)
    examples, cached = job.examples, None
    if cache is not None and job.objective.needs_teacher:
        cached = cache.features(examples, needed(job.objective, logits_for(job.task)), **_ranks(job))
        examples = with_rows(examples)
        job.teacher.to("cpu")  # training does without it
    distiller = Distiller(job.student, job.teacher if cached is None else None, job.objective, job.columns)
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
