"""A cache filled ahead with what distillations with the same teacher and data will need."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accelerate import PartialState

from kdfeatures.cache import FeatureCache, Quantity, logits_for, needed
from kdfeatures.cache.quantities import check_decoder, check_scores_kept
from kdfeatures.cache.settings import CacheSettings
from kdfeatures.config.settings import CacheRunSettings
from kdfeatures.data.inputs import joined, load_inputs
from kdfeatures.errors import UserError
from kdfeatures.mapping.pairs import DEFAULT_TEACHER
from kdfeatures.models.load import move
from kdfeatures.models.teachers import load_teachers, make_all_ready, option_of, with_student_tokenizer
from kdfeatures.pipelines.augment import augmenter
from kdfeatures.pipelines.plan import Plan, plan_stages
from kdfeatures.pipelines.prepare import student_tokenizer
from kdfeatures.pipelines.scores import cached_logits
from kdfeatures.tokenization.teacher_columns import of_teacher

logger = logging.getLogger(__name__)


def fill_cache(settings: CacheRunSettings) -> dict[str, Any]:
    """Fill the cache with what objective, maps and `more` take from the teacher; several processes share the work."""
    plans = plan_stages(settings.distillation, Path("unused"))
    more = [Quantity(kind, layer) for kind, layer in settings.more]
    # a later generation's teacher is not there yet
    results = [_fill(plan, settings.cache, more) for plan in plans if not plan.stage.born_again]
    filled = [result for result in results if result is not None]
    if not filled:
        recipe = settings.distillation.stages[0].recipe
        raise UserError(f"recipe={recipe} takes nothing from the teacher, so there is nothing to cache.")
    return filled[-1]


def _fill(plan: Plan, settings: CacheSettings, more: Sequence[Quantity]) -> dict[str, Any] | None:
    """Fill the caches of all teachers for one stage; None when it takes nothing from any."""
    stage = plan.stage
    task, data = stage.task, stage.data
    names = (DEFAULT_TEACHER, *stage.others)
    quantities = {name: set(needed(plan.objective, name, logits=logits_for(task))) for name in names}
    quantities[DEFAULT_TEACHER] |= set(more)
    if not any(quantities.values()):
        return None
    teachers = load_teachers(stage.teacher, stage.others, task)
    tokenizer = student_tokenizer(stage.student, teachers[DEFAULT_TEACHER])
    teachers = with_student_tokenizer(teachers, tokenizer)
    others = {name: teacher.tokenizer for name, teacher in teachers.items() if teacher.tokenizer is not None}
    for name, teacher in teachers.items():
        check_scores_kept(plan.objective, name, teacher.loaded.config)
        check_decoder(task, teacher.loaded, f"{option_of(name)}={teacher.path}", stage.teacher.dtype)
    processes = PartialState()
    ranks = {"rank": processes.process_index, "world": processes.num_processes}
    make_all_ready(teachers, stage.teacher)
    inputs = load_inputs(task, data, tokenizer, None, others)
    main = teachers[DEFAULT_TEACHER]
    its_tokenizer = main.tokenizer or tokenizer
    augment = augmenter(stage.augmentation, main.loaded, its_tokenizer, max_length=data.max_length, seed=stage.seed)
    examples, reported = joined(inputs.train(data, stage.seed, augment)), inputs.reported(stage.split)
    folders = {}
    for name, teacher in teachers.items():
        move(teacher.loaded, processes.device)
        cache = FeatureCache(settings, teacher.loaded, teacher.tokenizer or tokenizer)
        if quantities[name]:
            cache.features(of_teacher(examples, name), quantities[name], **ranks)
        of_splits = {split: of_teacher(encoded, name) for split, encoded in reported.items()}
        cached_logits(task, cache, of_splits, teacher.columns, **ranks)
        move(teacher.loaded, "cpu")
        folders[name] = str(cache.folder)
        logger.info(f"{cache.folder} holds all {len(examples):,} training examples.")
    return {"folder": folders[DEFAULT_TEACHER], "folders": folders, "examples": len(examples)}
