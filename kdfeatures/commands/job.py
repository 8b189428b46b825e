"""What a distillation needs before it trains: models, objective, data; all of it checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, IterableDataset
from omegaconf import DictConfig
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments, set_seed

from kdfeatures.augmentation import augmentation_of, augmentation_settings
from kdfeatures.build import build_objective, task_of_run
from kdfeatures.cache import CacheConfig, cache_settings, check_cacheable
from kdfeatures.commands.inputs import load_inputs
from kdfeatures.commands.text_inputs import check_stream
from kdfeatures.config import DataConfig, StudentConfig, TeacherConfig, section
from kdfeatures.encoders import encoder_of
from kdfeatures.errors import UserError
from kdfeatures.loss_report import describe_objective
from kdfeatures.models import load_tokenizer
from kdfeatures.objective import Objective
from kdfeatures.positions import check_length, check_positions
from kdfeatures.students import build_student
from kdfeatures.subsets import is_labelled
from kdfeatures.tasks import Task
from kdfeatures.teachers import check_dtype, check_tokenizers, load_teacher, make_ready
from kdfeatures.training_settings import training_arguments


@dataclass
class Job:
    """One distillation, ready to begin. columns: the teacher's outputs in the task's label order; None without labels.

    labelled: which of the training examples have a label, boolean (examples,). reported: {split: encoded examples}.
    """

    task: Task
    teacher_path: str
    teacher: PreTrainedModel
    columns: list[int] | None
    tokenizer: PreTrainedTokenizerBase
    student: PreTrainedModel
    objective: Objective
    arguments: TrainingArguments
    examples: Dataset | IterableDataset
    labelled: np.ndarray
    reported: dict[str, Dataset]
    validation: Dataset | None
    cache: CacheConfig | None

    @classmethod
    def prepare(cls, cfg: DictConfig, output_dir: Path) -> Job:
        """Load and check everything that a composed run config with a teacher.path names; raises UserError."""
        task, data = task_of_run(cfg), section(cfg, "data", DataConfig)
        check_stream(data, cfg)
        teacher_config, student_config = section(cfg, "teacher", TeacherConfig), section(cfg, "student", StudentConfig)
        check_dtype(teacher_config.dtype)
        cache, augmentation = cache_settings(cfg), augmentation_settings(cfg)
        if cache is not None:
            check_cacheable(task, data)
        teacher_path = teacher_config.path
        teacher, tokenizer, columns = load_teacher(teacher_path, task, force=teacher_config.force)
        if student_config.path is not None:
            check_tokenizers(tokenizer, load_tokenizer(student_config.path, "student.path"), student_config.path)
        set_seed(cfg.seed)
        student = build_student(student_config, teacher, columns, task)
        make_ready(teacher, dtype=teacher_config.dtype, compiled=teacher_config.compile)
        objective, _ = build_objective(cfg, student.config, teacher.config, regression=task.is_regression)
        frozen = freeze_below(student, cfg.freeze_below)
        arguments = training_arguments(
            cfg.trainer,
            output_dir,
            task,
            seed=cfg.seed,
            find_unused_parameters=frozen or not objective.reaches_the_head,
        )
        inputs = load_inputs(task, data, tokenizer)
        if not objective.needs_teacher:
            augmentation = None  # copies have no labels, so nothing would be learned from them
        augment = augmentation_of(augmentation, teacher, tokenizer, max_length=data.max_length, seed=cfg.seed)
        reported, examples = inputs.reported(cfg.split), inputs.train(data, cfg.seed, augment)
        is_stream = isinstance(examples, IterableDataset)
        labelled = np.zeros(0, dtype=bool) if is_stream else is_labelled(examples)
        if task.has_labels and not objective.needs_teacher:
            examples = examples.select(np.flatnonzero(labelled))
        for model, option in ((teacher, f"teacher.path={teacher_path}"), (student, "the student")):
            if is_stream:
                check_length(model, option, data.max_length)
            else:
                check_positions(model, option, [examples, *reported.values()])
        return cls(
            task=task,
            teacher_path=teacher_path,
            teacher=teacher,
            columns=columns,
            tokenizer=tokenizer,
            student=student,
            objective=objective,
            arguments=arguments,
            examples=examples,
            labelled=labelled,
            reported=reported,
            validation=inputs.validation(),
            cache=cache,
        )

    def report(self) -> dict[str, Any]:
        """Return what the objective does (kdfeatures.loss_report)."""
        return describe_objective(self.objective, self.student.config, self.teacher.config, self.task.num_labels)


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
