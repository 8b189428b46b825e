"""kdfeatures distill: train a student on a teacher's features, logits and the labels, and report both."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from transformers import DataCollatorWithPadding, PreTrainedModel, set_seed

from kdfeatures.augmentation import augmentation_of, augmentation_settings
from kdfeatures.bucketed import padding_share
from kdfeatures.build import build_objective
from kdfeatures.cache import CachedCollator, FeatureCache, cache_settings, needed, with_rows
from kdfeatures.capture import capture
from kdfeatures.card import write_card
from kdfeatures.commands.finetune import embedded_config, finetune
from kdfeatures.commands.inputs import TaskData, cached_logits, is_labelled, logits_of, scores_of
from kdfeatures.config import DataConfig, StudentConfig, TeacherConfig, section
from kdfeatures.distiller import Distiller
from kdfeatures.errors import UserError
from kdfeatures.metrics import main_metric
from kdfeatures.models import load_tokenizer
from kdfeatures.objective import Objective
from kdfeatures.positions import check_positions
from kdfeatures.processes import is_first, process_count
from kdfeatures.projection import PcaProjections
from kdfeatures.results import describe_model, device_name, read_results, retained, versions, write_results
from kdfeatures.runs import is_finished, open_output
from kdfeatures.sharding import whole
from kdfeatures.students import build_student, planned_config
from kdfeatures.tasks import Task
from kdfeatures.teachers import check_dtype, check_teacher, check_tokenizers, load_teacher, make_ready
from kdfeatures.training import last_losses, make_trainer, train
from kdfeatures.training_settings import training_arguments


def run(cfg: DictConfig, output_dir: Path) -> dict[str, Any] | None:
    """Distil `teacher` into `student` by the recipe's terms. Everything is checked before training starts.

    Of several processes the first evaluates and returns the results, the others None.
    """
    start = time.monotonic()
    task, data = Task.from_config(OmegaConf.to_container(cfg.task)), section(cfg, "data", DataConfig)
    teacher_config, student_config = section(cfg, "teacher", TeacherConfig), section(cfg, "student", StudentConfig)
    check_dtype(teacher_config.dtype)
    cache_config, augmentation = cache_settings(cfg), augmentation_settings(cfg)
    checkpoint = open_output(output_dir, cfg.existing)
    if cfg.existing == "resume" and is_finished(output_dir):
        return read_results(output_dir)
    teacher_path = teacher_config.path or _train_teacher(cfg, teacher_config, student_config, task, output_dir)
    teacher, tokenizer, columns = load_teacher(teacher_path, task, force=teacher_config.force)
    if student_config.path is not None:
        check_tokenizers(tokenizer, load_tokenizer(student_config.path, "student.path"), student_config.path)
    set_seed(cfg.seed)
    student = build_student(student_config, teacher, columns, task)
    make_ready(teacher, dtype=teacher_config.dtype, compiled=teacher_config.compile)
    objective, _ = build_objective(cfg, student.config, teacher.config, regression=task.is_regression)
    arguments = training_arguments(
        cfg.trainer, output_dir, task, seed=cfg.seed, find_unused_parameters=not objective.reaches_the_head
    )
    inputs = TaskData.load(task, data, tokenizer)
    if not objective.needs_teacher:
        augmentation = None  # copies have no labels, so nothing would be learned from them
    augment = augmentation_of(augmentation, teacher, tokenizer, max_length=data.max_length, seed=cfg.seed)
    reported, examples = inputs.reported(cfg.split), inputs.train(data, cfg.seed, augment)
    labelled = is_labelled(examples)
    if not objective.needs_teacher:
        examples = examples.select(np.flatnonzero(labelled))

    for model, option in ((teacher, f"teacher.path={teacher_path}"), (student, "the student")):
        check_positions(model, option, [examples, *reported.values()])

    options = {"batch_size": arguments.per_device_eval_batch_size}
    teacher.to(arguments.device)
    cache = None if cache_config is None else FeatureCache(cache_config, teacher, tokenizer)
    ranks = {"rank": arguments.process_index, "world": arguments.world_size}
    if cache is not None:
        teacher_logits = cached_logits(cache, reported, columns, **ranks)
    elif is_first():
        teacher_logits = logits_of(teacher, reported, tokenizer, columns, title="teacher", **options)
    if is_first() and not teacher_config.force and objective.needs_teacher:
        truth = np.asarray(reported[cfg.split]["labels"][:])
        check_teacher(teacher_logits[cfg.split], truth, task, cfg.split)
    if isinstance(objective.projections, PcaProjections):
        _fit_pca(objective, teacher, examples, tokenizer, cfg.seed)

    cached = cache.features(examples, needed(objective), **ranks) if cache and objective.needs_teacher else None
    if cached is not None:
        examples = with_rows(examples)
        teacher.to("cpu")  # training does without it
    distiller = Distiller(student, teacher if cached is None else None, objective, columns)
    trainer = make_trainer(distiller, arguments, cfg.trainer, task, tokenizer, examples, inputs.validation())
    if cached is not None:
        trainer.data_collator = CachedCollator(trainer.data_collator, cached)
    seconds = train(trainer, checkpoint)
    distiller.detach()
    if not is_first():
        return None
    student = whole(student, trainer)
    in_order = list(range(task.num_labels))
    student_logits = logits_of(student, reported, tokenizer, in_order, title="student", **options)

    teacher_scores = scores_of(teacher_logits, reported, task)
    student_scores = scores_of(student_logits, reported, task)
    metric = main_metric(task)
    results = {
        "command": "distill",
        "task": task.name,
        "recipe": cfg.recipe_name,
        "mapping": sorted({tuple(pair) for term in objective.terms.values() for pair in term.pairs}),
        "seed": cfg.seed,
        "split": cfg.split,
        "metric": metric,
        "teacher": describe_model(teacher_path, teacher, teacher_scores),
        "student": describe_model(str(output_dir), student, student_scores),
        "retained": retained(student_scores[cfg.split][metric], teacher_scores[cfg.split][metric]),
        "train_examples": len(examples),
        "labelled_examples": int(labelled.sum()) if objective.needs_labels else 0,
        "seconds": {"train": seconds, "total": time.monotonic() - start},
        "losses": last_losses(trainer),
        "padding": padding_share(trainer),
        "processes": process_count(),
        "versions": versions(),
        "device": device_name(),
        "config": OmegaConf.to_container(cfg, resolve=True),
    }
    np.savez_compressed(output_dir / "logits.npz", **student_logits)
    write_card(output_dir, results, task)
    write_results(output_dir, results)
    return results


def _train_teacher(cfg: DictConfig, config: TeacherConfig, student: StudentConfig, task: Task, output_dir: Path) -> str:
    if task.embedded is None:
        raise UserError(
            f"task={task.name} needs a teacher: give teacher.path=FOLDER_OR_HUB_ID, for instance one that "
            f"`kdfeatures finetune task={task.name} model.path=...` made."
        )
    # what is wrong with the student, the map or the trainer shall not be found out after the teacher is trained
    if student.path is None:
        planned = embedded_config(config.model, task)
        build_objective(cfg, planned_config(student, planned, task), planned, regression=task.is_regression)
    training_arguments(cfg.trainer, output_dir, task, seed=cfg.seed, find_unused_parameters=False)
    folder = output_dir / "teacher"
    print(f"No teacher.path given: training a teacher for the generated task '{task.name}' in {folder}.")
    whole = OmegaConf.merge(cfg, {"data": {"labelled": None, "train_examples": None}})
    existing = "resume" if cfg.existing == "resume" else "overwrite"
    finetune(whole, folder, model=config.model, trainer=cfg.teacher.trainer, existing=existing)
    return str(folder)


def _fit_pca(objective: Objective, teacher: PreTrainedModel, examples, tokenizer, seed: int) -> None:
    """Show PcaProjections the teacher's hidden states at the real tokens of some training examples."""
    projections = objective.projections
    rows = np.random.default_rng(seed).permutation(len(examples))[: projections.examples]
    collate = DataCollatorWithPadding(tokenizer)
    columns = [name for name in examples.column_names if name in tokenizer.model_input_names]
    chosen = examples.select_columns(columns).select(rows)
    states: dict[int, list[torch.Tensor]] = {layer: [] for layer in projections.layers}
    with capture(teacher, hidden=projections.layers) as features, torch.no_grad():
        for start in range(0, len(chosen), 32):
            batch = collate([chosen[i] for i in range(start, min(start + 32, len(chosen)))]).to(teacher.device)
            teacher(**batch)
            for layer, found in states.items():
                found.append(features.hidden[layer][batch["attention_mask"].bool()])
    projections.fit({layer: torch.cat(found) for layer, found in states.items()})
