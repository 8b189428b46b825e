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
    CacheConfig,
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
from kdfeatures.stages import stages_of
from kdfeatures.students import planned_config
from kdfeatures.teachers import check_dtype, load_teacher, make_ready


def run(cfg: DictConfig, output_dir: Path) -> dict[str, Any]:
    """Fill the cache with what recipe, mapping and `more` take from the teacher; several processes share the work."""
    settings = cache_settings(cfg)
    if settings is None:
        raise UserError("kdfeatures cache fills a cache, so it cannot do with cache=off; leave that out.")
    if cfg.teacher.path is None:
        raise UserError("kdfeatures cache needs a trained teacher: give teacher.path=FOLDER_OR_HUB_ID.")
    task = task_of_run(cfg)
    student_config = section(cfg, "student", StudentConfig)
    of_teacher = load_config(cfg.teacher.path, "teacher.path")
    if student_config.path is None:
        student = planned_config(student_config, of_teacher, task)
    else:
        student = load_config(student_config.path, "student.path")
    stages = stages_of(cfg, student.num_hidden_layers, of_teacher.num_hidden_layers)
    made = [_fill(stage.cfg, settings, student) for stage in stages]
    filled = [result for result in made if result is not None]
    if not filled:
        raise UserError(f"recipe={cfg.recipe_name} takes nothing from the teacher, so there is nothing to cache.")
    return filled[-1]


def _fill(cfg: DictConfig, settings: CacheConfig, student) -> dict[str, Any] | None:
    """Fill the cache for one stage; None when it takes nothing from the teacher."""
    task, data = task_of_run(cfg), section(cfg, "data", DataConfig)
    check_cacheable(task, data)
    teacher_config = section(cfg, "teacher", TeacherConfig)
    check_dtype(teacher_config.dtype)
    augmentation = augmentation_settings(cfg)
    teacher, tokenizer, columns = load_teacher(teacher_config.path, task, force=teacher_config.force)
    objective, _ = build_objective(cfg, student, teacher.config, regression=task.is_regression)
    quantities = {*needed(objective, logits_for(task)), *_more(section(cfg, "more", MoreLayers))}
    if not quantities:
        return None
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
