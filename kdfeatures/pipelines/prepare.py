"""What a distillation needs before it trains: models, objective, data; all of it checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, IterableDataset
from omegaconf import DictConfig
from transformers import (
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainingArguments,
    set_seed,
)

from kdfeatures.capture.families import encoder_of
from kdfeatures.config.augmentation import augmentation_of, augmentation_settings
from kdfeatures.config.cache import CacheConfig, cache_settings, check_cacheable
from kdfeatures.config.objective import build_objective, task_of_run
from kdfeatures.config.schema import DataConfig, StudentConfig, section
from kdfeatures.config.teachers import teacher_settings
from kdfeatures.config.training import training_arguments
from kdfeatures.data.stored_predictions import StoredOutputs
from kdfeatures.data.subsets import is_labelled
from kdfeatures.distillation.objective import DEFAULT_TEACHER, Objective
from kdfeatures.distillation.summary import describe_layers, describe_objective
from kdfeatures.errors import UserError
from kdfeatures.mapping.diagram import maps_text
from kdfeatures.models.load import load_tokenizer
from kdfeatures.models.max_length import check_length, check_positions
from kdfeatures.models.students import build_student
from kdfeatures.models.teachers import Teacher, check_tokenizers
from kdfeatures.pipelines.inputs import joined, load_inputs
from kdfeatures.pipelines.teachers import load_teachers, make_all_ready, option_of
from kdfeatures.pipelines.text_inputs import OWN, check_stream
from kdfeatures.tasks.registry import task_type
from kdfeatures.tasks.task import Task


@dataclass
class DistillationSetup:
    """One distillation, ready to begin. teachers: by name, the main one first.

    labelled: which of the training examples have a label, boolean (examples,). added: how many of them are others than
    the task's, by POOL and AUGMENTED. reported: {split: encoded examples}.
    outputs: what the main teacher answered when it is no model here, and stored: its logits (examples, C) on those of
    the reported splits that it has answered; both are None otherwise.
    """

    task: Task
    teachers: dict[str, Teacher]
    tokenizer: PreTrainedTokenizerBase
    student: PreTrainedModel
    objective: Objective
    arguments: TrainingArguments
    examples: Dataset | IterableDataset
    labelled: np.ndarray
    added: dict[str, int]
    reported: dict[str, Dataset]
    validation: Dataset | None
    cache: CacheConfig | None
    outputs: StoredOutputs | None
    stored: dict[str, np.ndarray] | None

    @classmethod
    def prepare(cls, cfg: DictConfig, output_dir: Path) -> DistillationSetup:
        """Load and check everything that a composed run config with a teacher names; raises UserError."""
        task, data = task_of_run(cfg), section(cfg, "data", DataConfig)
        check_stream(data, cfg)
        teacher_config, others = teacher_settings(cfg)
        student_config = section(cfg, "student", StudentConfig)
        cache, augmentation = cache_settings(cfg), augmentation_settings(cfg)
        if cache is not None:
            check_cacheable(task, data)
        if teacher_config.outputs is None:
            outputs = None
            teachers, tokenizer = load_teachers(teacher_config, others, task)
            if student_config.path is not None:
                check_tokenizers(tokenizer, load_tokenizer(student_config.path, "student.path"), student_config.path)
        else:
            outputs = StoredOutputs.read(teacher_config.outputs, task, teacher_config.id_column)
            teachers = {DEFAULT_TEACHER: Teacher(teacher_config.outputs, None, list(range(task.num_labels)))}
            tokenizer = load_tokenizer(student_config.path, "student.path")
        main = teachers[DEFAULT_TEACHER]
        set_seed(cfg.seed if student_config.seed is None else student_config.seed)
        student = build_student(student_config, main.model, main.columns, task)
        make_all_ready(teachers, teacher_config)
        configs = {name: None if one.model is None else one.model.config for name, one in teachers.items()}
        of_main = configs.pop(DEFAULT_TEACHER)
        objective, _ = build_objective(cfg, student.config, of_main, regression=task.is_regression, others=configs)
        if outputs is not None:
            outputs.check(objective)
        frozen = freeze_below(student, cfg.freeze_below)
        arguments = training_arguments(
            cfg.trainer,
            output_dir,
            task,
            seed=cfg.seed,
            find_unused_parameters=frozen or not objective.reaches_the_head,
        )
        inputs = load_inputs(task, data, tokenizer, outputs if objective.needs_teacher else None)
        if not objective.needs_teacher:
            augmentation = None  # copies have no labels, so nothing would be learned from them
        augment = augmentation_of(augmentation, main.model, tokenizer, max_length=data.max_length, seed=cfg.seed)
        reported, parts = inputs.reported(cfg.split), inputs.train(data, cfg.seed, augment)
        examples = joined(parts)
        is_stream = isinstance(examples, IterableDataset)
        labelled = np.zeros(0, dtype=bool) if is_stream else is_labelled(examples)
        if task.has_labels and not objective.needs_teacher:
            examples, parts = examples.select(np.flatnonzero(labelled)), {}
        models = {f"{option_of(name)}={one.path}": one.model for name, one in teachers.items() if one.model is not None}
        for option, model in {**models, "the student": student}.items():
            if is_stream:
                check_length(model, option, data.max_length)
            else:
                check_positions(model, option, [examples, *reported.values()])
        return cls(
            task=task,
            teachers=teachers,
            tokenizer=tokenizer,
            student=student,
            objective=objective,
            arguments=arguments,
            examples=examples,
            labelled=labelled,
            added={name: len(part) for name, part in parts.items() if name != OWN},
            reported=reported,
            validation=inputs.validation(),
            cache=cache,
            outputs=outputs,
            stored=None if outputs is None else inputs.stored(outputs, reported),
        )

    def maps_text(self) -> str:
        """Return pictures of the layer maps (kdfeatures.mapping.diagram)."""
        terms = {name: describe_layers(term) for name, term in self.objective.terms.items()}
        models = {name: one.model for name, one in self.teachers.items() if one.model is not None}
        depths = {name: model.config.num_hidden_layers for name, model in models.items()}
        return maps_text(terms, self.student.config.num_hidden_layers, depths)

    def report(self) -> dict[str, Any]:
        """Return what the objective does (kdfeatures.distillation.summary)."""
        configs = {name: None if one.model is None else one.model.config for name, one in self.teachers.items()}
        main = configs.pop(DEFAULT_TEACHER)
        return describe_objective(
            self.objective, self.student.config, main, others=configs, **outputs_of(self.task, self.student.config)
        )


def outputs_of(task: Task, student: PreTrainedConfig) -> dict[str, Any]:
    """Return what describe_objective is told of the models' outputs: C, and what a row of them is of."""
    classes = task.num_labels if task.has_labels else student.vocab_size
    return {"classes": classes, "rows": "tokens" if task_type(task).per_token else "B"}


def freeze_below(student: PreTrainedModel, layer: int | None) -> bool:
    """Freeze the embeddings and all layers below `layer`, from 1, in place; None freezes nothing, and returns False."""
    if layer is None:
        return False
    layers = encoder_of(student).layers
    if type(layer) is not int or not 1 <= layer <= len(layers):
        raise UserError(f"freeze_below={layer} must name a layer of the student, 1 to {len(layers)}, or be null.")
    above = {id(p) for module in layers[layer - 1 :] for p in module.parameters()}
    for parameter in student.base_model.parameters():
        if id(parameter) not in above:
            parameter.requires_grad_(False)
    return True
