"""What a distillation needs before it trains: models, objective, data; all of it checked."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, IterableDataset
from transformers import (
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainingArguments,
    set_seed,
)

from kdfeatures.alignment.tokens.spans import check_offsets
from kdfeatures.analysis.batches import text_batches
from kdfeatures.cache.quantities import check_decoder, check_scores_kept
from kdfeatures.cache.settings import CacheSettings
from kdfeatures.capture.families import encoder_of
from kdfeatures.config.objective import bind
from kdfeatures.config.option_errors import option_line
from kdfeatures.config.settings import StageSettings
from kdfeatures.data.class_weights import set_class_weights
from kdfeatures.data.inputs import TaskData, check_scored, joined, load_inputs
from kdfeatures.data.stored_predictions import StoredOutputs
from kdfeatures.data.subsets import is_labelled, sample
from kdfeatures.data.text_inputs import OWN, TextData
from kdfeatures.data.unlabeled import read_lines
from kdfeatures.distillation.bound import BoundObjective
from kdfeatures.distillation.summary import describe_layers, describe_objective
from kdfeatures.errors import ConfigError, UserError
from kdfeatures.losses import HardLabel
from kdfeatures.mapping.diagram import maps_text
from kdfeatures.mapping.pairs import DEFAULT_TEACHER
from kdfeatures.models.limits import check_inputs, check_unseen_inputs, cut_padding
from kdfeatures.models.students import StudentSpec, build_student, start_measured
from kdfeatures.models.teachers import Teacher, load_teachers, make_all_ready, option_of, with_student_tokenizer
from kdfeatures.models.tokenizers import load_tokenizer
from kdfeatures.pipelines.augment import augmenter
from kdfeatures.tasks.registry import task_type
from kdfeatures.tasks.task import Task
from kdfeatures.tokenization.teacher_columns import Tokenizers, is_one_to_one, of_teacher
from kdfeatures.tokenization.vocabulary import cut_tables, cut_tokenizer, used_pieces
from kdfeatures.tokenization.vocabulary.cut_tokenizer import CutTokenizer

logger = logging.getLogger(__name__)

PRUNING_BATCH = 32  # texts a forward pass, so that a measurement is always the same


@dataclass
class DistillationSetup:
    """One distillation, ready to begin. teachers: by name, the main one first.

    labelled: which of the training examples have a label, boolean (examples,). added: how many of them are others than
    the task's, by POOL and AUGMENTED. reported: {split: encoded examples}.
    outputs: what the main teacher answered when it is no model here, and stored: its logits (examples, C) on those of
    the reported splits that it has answered; both are None otherwise.
    truncated: see kdfeatures.data.inputs. copied_layers: of the teacher, where they were measured.
    vocabulary: how many tokens were kept of how many, where it was cut.
    shards_teachers: whether each process shall have a part of them, once they are moved to where they run.
    """

    task: Task
    teachers: dict[str, Teacher]
    shards_teachers: bool
    tokenizer: PreTrainedTokenizerBase
    student: PreTrainedModel
    objective: BoundObjective
    arguments: TrainingArguments
    examples: Dataset | IterableDataset
    labelled: np.ndarray
    added: dict[str, int]
    reported: dict[str, Dataset]
    validation: Dataset | None
    cache: CacheSettings | None
    outputs: StoredOutputs | None
    stored: dict[str, np.ndarray] | None
    truncated: dict[str, dict[str, int]]
    copied_layers: list[int] | None
    vocabulary: dict[str, int] | None

    @classmethod
    def prepare(cls, stage: StageSettings, output_dir: Path) -> DistillationSetup:
        """Load and check everything that a stage names; its teacher must be there. Raises UserError."""
        task, data = stage.task, stage.data
        assert stage.trainer is not None
        if stage.teacher.outputs is None:
            outputs = None
            teachers = load_teachers(stage.teacher, stage.others, task)
            tokenizer = student_tokenizer(stage.student, teachers[DEFAULT_TEACHER])
            teachers = with_student_tokenizer(teachers, tokenizer)
        else:
            outputs = StoredOutputs.read(stage.teacher.outputs, task, stage.teacher.id_column)
            teachers = {DEFAULT_TEACHER: Teacher(stage.teacher.outputs, None, list(range(task.num_labels)))}
            assert stage.student.path is not None  # kdfeatures.config.teachers sees to it
            tokenizer = load_tokenizer(stage.student.source, "student.path")
        main = teachers[DEFAULT_TEACHER]
        set_seed(stage.seed if stage.student.seed is None else stage.student.seed)
        student = build_student(stage.student, main.model, main.columns, task)
        others = tokenizers_of(teachers)
        if (others or stage.student.vocabulary is not None) and task.kind == "text":
            raise UserError(
                "the teacher has another vocabulary than the student, and a masked language model predicts the pieces "
                "of its own, so their outputs cannot be compared; use a recipe without terms on outputs, such as "
                "recipe=tinybert_general, and student.vocabulary=null."
            )
        if (others or stage.student.vocabulary is not None) and task.kind == "question":
            raise UserError(
                "the teacher has another tokenizer than the student, but start and end of an answer are tokens, and "
                "those of the one are not those of the other; choose a student with the teacher's tokenizer, and "
                "student.vocabulary=null."
            )
        if task.kind == "text":
            cut_padding([student, *(teacher.loaded for teacher in teachers.values())], tokenizer)
        configs = {name: None if teacher.model is None else teacher.model.config for name, teacher in teachers.items()}
        of_main = configs.pop(DEFAULT_TEACHER)
        objective = bind(stage.objective, student.config, of_main, configs, outputs=task.outputs)
        if stage.cache is not None:
            for name, teacher in teachers.items():
                if teacher.model is not None:
                    check_scores_kept(objective, name, teacher.model.config)
                    check_decoder(task, teacher.model, f"{option_of(name)}={teacher.path}", stage.teacher.dtype)
        if outputs is not None:
            outputs.check(objective)
        frozen = freeze_below(student, stage.freeze_below) or stage.student.freeze_head
        arguments = stage.trainer.training_arguments(
            output_dir,
            metric=task.main_metric,
            seed=stage.seed,
            find_unused_parameters=frozen or not objective.reaches_the_head,
        )
        inputs = load_inputs(task, data, tokenizer, outputs if objective.needs_teacher else None, others)
        kept: CutTokenizer | None = None
        vocabulary = None
        if stage.student.vocabulary is not None:
            kept = task_vocabulary(stage, tokenizer, inputs)
            vocabulary = {"kept": len(kept.old_ids), "of": len(tokenizer)}
            teachers = {
                name: teacher if teacher.model is None else replace(teacher, tokenizer=teacher.tokenizer or tokenizer)
                for name, teacher in teachers.items()
            }
            main, tokenizer, others = teachers[DEFAULT_TEACHER], kept.tokenizer, tokenizers_of(teachers)
            inputs = replace(inputs, tokenizer=tokenizer, others=others)
        augmentation = stage.augmentation
        if not objective.needs_teacher:
            augmentation = None  # copies have no labels, so nothing would be learned from them
        augment = augmenter(
            augmentation, main.model, main.tokenizer or tokenizer, max_length=data.max_length, seed=stage.seed
        )
        reported, parts = inputs.reported(stage.split), inputs.train(data, stage.seed, augment)
        examples, validation = joined(parts), inputs.validation()
        evaluates = arguments.eval_strategy != "no"
        check_scored(task, reported, validation, split=stage.split, evaluates=evaluates)
        is_stream = isinstance(examples, IterableDataset)
        if is_stream or task.is_text:  # of which labels are no one's but the tokens that were masked
            labelled = np.zeros(0 if is_stream else len(examples), dtype=bool)
        else:
            labelled = is_labelled(examples)
        if task.has_labels and not objective.needs_teacher:
            examples, parts = examples.select(np.flatnonzero(labelled)), {}
        for name, term in objective.terms.items():
            if isinstance(term.loss, HardLabel) and not is_stream:
                set_class_weights(term.loss, task, examples, f"losses.{name}.class_weights")
        if not is_stream:
            check_comparable(objective, examples, tokenizer, teachers)
        splits = [examples, validation, *reported.values()]

        def check_tables(model: PreTrainedModel, option: str, teacher: str) -> None:
            if is_stream:
                check_unseen_inputs(model, option, tokenizer, data.max_length)
            else:
                check_inputs(model, option, [None if split is None else of_teacher(split, teacher) for split in splits])

        for name, teacher in teachers.items():
            if teacher.model is not None:
                check_tables(teacher.model, f"{option_of(name)}={teacher.path}", name)
        copied = None
        if stage.student.measures:
            chosen = of_teacher(_sample(examples, stage.student.init_examples, stage.seed), DEFAULT_TEACHER)
            batches = text_batches(chosen, main.tokenizer or tokenizer, batch_size=PRUNING_BATCH)
            copied = start_measured(stage.student, student, main.loaded, main.columns, batches)
            logger.info(f"The student begins with the teacher's layers {', '.join(map(str, copied))}.")
        if kept is not None:
            cut_tables(student, kept.old_ids)
        check_tables(student, "the student", "")
        make_all_ready(teachers, stage.teacher)  # not before: what is copied from a teacher shall not be rounded
        stored = None
        if outputs is not None:
            assert isinstance(inputs, TaskData)  # StoredOutputs.read takes no other tasks
            stored = inputs.stored(outputs, reported)
        return cls(
            task=task,
            teachers=teachers,
            shards_teachers=stage.teacher.fsdp,
            tokenizer=tokenizer,
            student=student,
            objective=objective,
            arguments=arguments,
            examples=examples,
            labelled=labelled,
            added={name: len(part) for name, part in parts.items() if name != OWN},
            reported=reported,
            validation=validation,
            cache=stage.cache,
            outputs=outputs,
            stored=stored,
            truncated=inputs.truncated,
            copied_layers=copied,
            vocabulary=vocabulary,
        )

    @property
    def other_tokenizers(self) -> Tokenizers:
        """The tokenizers of the teachers that have another one than the student, by name."""
        return tokenizers_of(self.teachers)

    def reported_by(self, teacher: str) -> dict[str, Dataset]:
        """Return the reported splits as a teacher reads them."""
        return {name: of_teacher(split, teacher) for name, split in self.reported.items()}

    def maps_text(self) -> str:
        """Return pictures of the layer maps (kdfeatures.mapping.diagram)."""
        terms = {name: describe_layers(term) for name, term in self.objective.terms.items()}
        models = {name: teacher.model for name, teacher in self.teachers.items() if teacher.model is not None}
        depths = {name: model.config.num_hidden_layers for name, model in models.items()}
        return maps_text(terms, self.student.config.num_hidden_layers, depths)

    def report(self) -> dict[str, Any]:
        """Return what the objective does (kdfeatures.distillation.summary)."""
        main = self.teachers[DEFAULT_TEACHER].model
        return describe_objective(
            self.objective,
            self.student.config,
            None if main is None else main.config,
            others={name: teacher.loaded.config for name, teacher in self.teachers.items() if name != DEFAULT_TEACHER},
            **outputs_of(self.task, self.student.config),
        )


def tokenizers_of(teachers: Mapping[str, Teacher]) -> dict[str, PreTrainedTokenizerBase]:
    """Return the tokenizers of the teachers that have another one than the student, by name."""
    return {name: teacher.tokenizer for name, teacher in teachers.items() if teacher.tokenizer is not None}


def task_vocabulary(
    stage: StageSettings, tokenizer: PreTrainedTokenizerBase, inputs: TaskData | TextData
) -> CutTokenizer:
    """Return the student's tokenizer with the pieces of the task's training texts, and of a corpus, alone."""
    spec, data = stage.student, stage.data
    if data.streaming:
        raise UserError(
            "student.vocabulary=task counts the pieces of all training texts, which data.streaming=true does not hold; "
            "set one of them otherwise."
        )
    used = used_pieces(tokenizer, inputs.training_texts(data))
    if spec.vocabulary_corpus is not None:
        option = f"student.vocabulary_corpus={spec.vocabulary_corpus}"
        used |= used_pieces(tokenizer, read_lines(spec.vocabulary_corpus, option, stage.task.encoding))
    kept = cut_tokenizer(tokenizer, used, "the student")
    logger.info(f"student.vocabulary=task keeps {len(kept.old_ids):,} of {len(tokenizer):,} tokens.")
    return kept


def check_comparable(
    objective: BoundObjective,
    examples: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    teachers: Mapping[str, Teacher],
) -> None:
    """Raise UserError for a term on layers of a teacher whose tokens are not the student's, where it needs them so."""
    others = tokenizers_of(teachers)
    grouped = [name for name in objective.compared_by_layer(others) if not is_one_to_one(examples, name)]
    try:
        objective.check_other_tokenizers(grouped)
    except ConfigError as error:
        raise UserError(option_line(error)) from error
    for name in grouped:
        check_offsets(tokenizer.is_fast, "the student")
        check_offsets(others[name].is_fast, f"{option_of(name)}={teachers[name].path}")


def student_tokenizer(student: StudentSpec, main: Teacher) -> PreTrainedTokenizerBase:
    """Return what the student reads text with: its folder's tokenizer, or for one made anew the main teacher's."""
    if student.path is not None:
        return load_tokenizer(student.source, "student.path")
    assert main.tokenizer is not None
    return main.tokenizer


def _sample(examples: Dataset | IterableDataset, count: int, seed: int) -> Dataset:
    """Return some of the training examples; the first ones of a stream."""
    if isinstance(examples, IterableDataset):
        return Dataset.from_list(list(examples.take(count)))
    return sample(examples, count, seed)


def outputs_of(task: Task, student: PreTrainedConfig) -> dict[str, Any]:
    """Return what describe_objective is told of the models' outputs: C, and what a row of them is of."""
    if task.kind == "question":
        return {"classes": "L", "rows": "2 B"}  # where an answer starts, and where it ends
    if task.outputs == "vector":
        return {"classes": student.hidden_size, "rows": "B"}
    if task.outputs == "labels":
        return {"classes": task.num_labels, "rows": "B", "labels": f"(B, {task.num_labels})"}
    classes = student.vocab_size if task.is_text else task.num_labels
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
