"""kdfeatures cache: compute ahead, and keep on disk, what distill runs with the same teacher and data will need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accelerate import PartialState
from omegaconf import DictConfig

from kdfeatures.cache import OPERANDS, FeatureCache, Quantity, logits_for, needed
from kdfeatures.config.augmentation import augmentation_of, augmentation_settings
from kdfeatures.config.cache import CacheConfig, MoreLayers, cache_settings, check_cacheable
from kdfeatures.config.objective import build_objective, task_of_run
from kdfeatures.config.schema import DataConfig, StudentConfig, section
from kdfeatures.config.stages import stages_of
from kdfeatures.config.teachers import teacher_settings
from kdfeatures.distillation.objective import DEFAULT_TEACHER
from kdfeatures.errors import UserError
from kdfeatures.models.load import load_config
from kdfeatures.models.students import planned_config
from kdfeatures.pipelines.inputs import cached_logits, joined, load_inputs
from kdfeatures.pipelines.teachers import load_teachers, make_all_ready


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
    # a later generation's teacher is not there yet
    stages = [s for s in stages_of(cfg, student.num_hidden_layers, of_teacher.num_hidden_layers) if not s.born_again]
    made = [_fill(stage.cfg, settings, student) for stage in stages]
    filled = [result for result in made if result is not None]
    if not filled:
        raise UserError(f"recipe={cfg.recipe_name} takes nothing from the teacher, so there is nothing to cache.")
    return filled[-1]


def _fill(cfg: DictConfig, settings: CacheConfig, student) -> dict[str, Any] | None:
    """Fill the caches of all teachers for one stage; None when it takes nothing from any."""
    task, data = task_of_run(cfg), section(cfg, "data", DataConfig)
    check_cacheable(task, data)
    teacher_config, others = teacher_settings(cfg)
    augmentation = augmentation_settings(cfg)
    teachers, tokenizer = load_teachers(teacher_config, others, task)
    main = teachers[DEFAULT_TEACHER].model
    configs = {name: teachers[name].model.config for name in others}
    objective, _ = build_objective(cfg, student, main.config, regression=task.is_regression, others=configs)
    quantities = {name: set(needed(objective, name, logits=logits_for(task))) for name in teachers}
    quantities[DEFAULT_TEACHER] |= _more(section(cfg, "more", MoreLayers))
    if not any(quantities.values()):
        return None
    processes = PartialState()
    ranks = {"rank": processes.process_index, "world": processes.num_processes}
    make_all_ready(teachers, teacher_config)
    inputs = load_inputs(task, data, tokenizer)
    augment = augmentation_of(augmentation, main, tokenizer, max_length=data.max_length, seed=cfg.seed)
    examples, reported = joined(inputs.train(data, cfg.seed, augment)), inputs.reported(cfg.split)
    folders = {}
    for name, teacher in teachers.items():
        cache = FeatureCache(settings, teacher.model.to(processes.device), tokenizer)
        if quantities[name]:
            cache.features(examples, quantities[name], **ranks)
        cached_logits(task, cache, reported, teacher.columns, **ranks)
        teacher.model.to("cpu")
        folders[name] = str(cache.folder)
        print(f"{cache.folder} holds all {len(examples):,} training examples.")
    return {"folder": folders[DEFAULT_TEACHER], "folders": folders, "examples": len(examples)}


def _more(layers: MoreLayers) -> set[Quantity]:
    hidden = {Quantity("hidden", n) for n in layers.hidden}
    return hidden | {Quantity(of, n) for n in layers.attention for of in OPERANDS}
