"""kdfeatures cache: compute ahead, and keep on disk, what distill runs with the same teacher and data will need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accelerate import PartialState
from omegaconf import DictConfig

from kdfeatures.augmentation import augmentation_of, augmentation_settings
from kdfeatures.build import build_objective, task_of_run
from kdfeatures.cache import (
    OPERANDS,
    FeatureCache,
    MoreLayers,
    Quantity,
    cache_settings,
    check_cacheable,
    logits_for,
    needed,
)
from kdfeatures.commands.inputs import cached_logits, load_inputs
from kdfeatures.config import DataConfig, StudentConfig, TeacherConfig, section
from kdfeatures.errors import UserError
from kdfeatures.models import load_config
from kdfeatures.students import planned_config
from kdfeatures.teachers import check_dtype, load_teacher, make_ready


def run(cfg: DictConfig, output_dir: Path) -> dict[str, Any]:
    """Fill the cache with what recipe, mapping and `more` take from the teacher; several processes share the work."""
    settings = cache_settings(cfg)
    if settings is None:
        raise UserError("kdfeatures cache fills a cache, so it cannot do with cache=off; leave that out.")
    task, data = task_of_run(cfg), section(cfg, "data", DataConfig)
    check_cacheable(task, data)
    teacher_config, student_config = section(cfg, "teacher", TeacherConfig), section(cfg, "student", StudentConfig)
    check_dtype(teacher_config.dtype)
    augmentation = augmentation_settings(cfg)
    if teacher_config.path is None:
        raise UserError("kdfeatures cache needs a trained teacher: give teacher.path=FOLDER_OR_HUB_ID.")
    teacher, tokenizer, columns = load_teacher(teacher_config.path, task, force=teacher_config.force)
    if student_config.path is None:
        student = planned_config(student_config, teacher.config, task)
    else:
        student = load_config(student_config.path, "student.path")
    objective, _ = build_objective(cfg, student, teacher.config, regression=task.is_regression)
    quantities = {*needed(objective, logits_for(task)), *_more(section(cfg, "more", MoreLayers))}
    if not quantities:
        raise UserError(f"recipe={cfg.recipe_name} takes nothing from the teacher, so there is nothing to cache.")

    processes = PartialState()
    ranks = {"rank": processes.process_index, "world": processes.num_processes}
    make_ready(teacher, dtype=teacher_config.dtype, compiled=teacher_config.compile).to(processes.device)
    inputs = load_inputs(task, data, tokenizer)
    cache = FeatureCache(settings, teacher, tokenizer)
    augment = augmentation_of(augmentation, teacher, tokenizer, max_length=data.max_length, seed=cfg.seed)
    features = cache.features(inputs.train(data, cfg.seed, augment), quantities, **ranks)
    cached_logits(task, cache, inputs.reported(cfg.split), columns, **ranks)
    print(f"{cache.folder} holds all {len(features.lengths):,} training examples.")
    return {"folder": str(cache.folder), "examples": len(features.lengths)}


def _more(layers: MoreLayers) -> set[Quantity]:
    hidden = {Quantity("hidden", n) for n in layers.hidden}
    return hidden | {Quantity(of, n) for n in layers.attention for of in OPERANDS}
