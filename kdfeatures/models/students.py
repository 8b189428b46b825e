"""Make the student: from teacher layers, from the teacher's embeddings made narrower, random, or from a folder."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from kdfeatures.capture.families import family_of
from kdfeatures.embeddings.pooling import give_vectors, pooling_of
from kdfeatures.errors import ConfigError, nearest
from kdfeatures.hub.models import check_revision, with_revision
from kdfeatures.models.batches import Batch
from kdfeatures.models.heads import select_outputs
from kdfeatures.models.load import label_settings, load_for_task
from kdfeatures.models.pca_init import narrow_embeddings
from kdfeatures.models.pruning import MEASURED, PRUNABLE, RULES, chosen_by, most_influential, prune_into
from kdfeatures.models.pruning.copying import copy_head, copy_layers
from kdfeatures.ranges import MAX_COUNT, MAX_HEADS, MAX_INTERMEDIATE, MAX_LAYERS, MAX_WIDTH, Range, Seed
from kdfeatures.tasks.registry import task_type
from kdfeatures.tasks.task import Task

INITS = ("teacher", "pruned", "pca", "random")


@dataclass(frozen=True)
class StudentSpec:
    """The student to make: a pretrained one at `path`, or one cut from the teacher.

    Args:
        path: folder or Hub id; the sizes are then its own.
        revision: of a path on the Hub, as the teacher's.
        init: "teacher" copies teacher layers, embeddings and head; "pruned" keeps, at any smaller sizes, the teacher's
            most important heads, neurons and directions (kdfeatures.models.pruning); "pca" starts a narrower one from
            the teacher's embeddings along their leading principal directions; "random" draws all weights.
        layers: None is as many as `layers_from`, or `layer_share` of the teacher's, rounded up.
        layers_from: the teacher layers to copy, from 1; None chooses them by `layers_by`.
        layers_by: "uniform" (None), "lower", "upper" or "alternating" (kdfeatures.models.pruning.layer_choice), or
            "importance": those that change most what passes through them, measured on init_examples.
        hidden_size, heads, intermediate_size: None takes the teacher's (for another width 4 hidden_size).
        seed: of random weights; None is the run's.
        init_examples: how many training examples importance is measured on.
        vocabulary: "task" keeps the tokens of the task's training texts alone, with those that split any text; None
            keeps all.
        vocabulary_corpus: text files, a text a line, whose tokens are kept, too.
        freeze_head: whether the head is the teacher's, copied, and never trained (SimKD, arXiv:2203.14001).
    """

    path: str | None = None
    init: str = "teacher"
    layers: Annotated[int | None, Range(1, MAX_LAYERS)] = None
    layer_share: Annotated[float, Range(0, 1, above=True)] = 0.5
    layers_from: Annotated[list[int] | None, Range(1, MAX_LAYERS)] = None
    hidden_size: Annotated[int | None, Range(1, MAX_WIDTH)] = None
    heads: Annotated[int | None, Range(1, MAX_HEADS)] = None
    intermediate_size: Annotated[int | None, Range(1, MAX_INTERMEDIATE)] = None
    seed: Annotated[int | None, Seed] = None
    init_examples: Annotated[int, Range(4, MAX_COUNT)] = 512
    layers_by: str | None = None
    freeze_head: bool = False
    vocabulary: str | None = None
    vocabulary_corpus: str | None = None
    revision: str | None = None

    def __post_init__(self) -> None:
        check_revision(self.path, self.revision, "student")
        if self.vocabulary not in (None, "task"):
            raise ConfigError(
                "is unknown",
                argument="vocabulary",
                value=self.vocabulary,
                hint="write task, or null",
                section="student",
            )
        if self.vocabulary_corpus is not None and self.vocabulary is None:
            raise ConfigError(
                "has no effect without a vocabulary that is cut",
                argument="vocabulary_corpus",
                value=self.vocabulary_corpus,
                hint="set vocabulary=task",
                section="student",
            )

    @property
    def source(self) -> str:
        """The path with its revision; there must be one."""
        assert self.path is not None
        return with_revision(self.path, self.revision, "student.path")

    @property
    def measures(self) -> bool:
        """Whether its start is known only once the teacher has read texts."""
        return self.path is None and (self.init == "pruned" or self.init == "teacher" and self.layers_by == MEASURED)


def build_student(
    spec: StudentSpec, teacher: PreTrainedModel | None, teacher_columns: list[int] | None, task: Task
) -> PreTrainedModel:
    """Return the student described by `spec`, with the task's labels. Random weights follow torch's global seed.

    teacher: None, as stored outputs are, only for a student with a path. teacher_columns: the teacher's outputs in the
    task's label order, or None; a copied head is put into that order. Where the spec `measures`, the weights are random
    until `start_measured` has seen texts.
    """
    student = _built(spec, teacher, teacher_columns, task)
    pooling = None if teacher is None else pooling_of(teacher)
    if pooling is not None:
        give_vectors(student, pooling)
    return student


def _built(
    spec: StudentSpec, teacher: PreTrainedModel | None, teacher_columns: list[int] | None, task: Task
) -> PreTrainedModel:
    if spec.path is not None:
        for name in ("layers", "layers_from", "layers_by", "hidden_size", "heads", "intermediate_size"):
            value = getattr(spec, name)
            if value is not None:
                raise ConfigError(
                    f"the student at {spec.path} has its own layers and sizes, so {name}={value} has no effect",
                    hint=f"leave out {name} or the path",
                    key="student.path_sizes",
                    path=spec.path,
                    name=name,
                    size=value,
                )
        student = load_for_task(spec.source, "student.path", task)
        if spec.freeze_head:
            copy_head(student, teacher, teacher_columns)
        return student
    assert teacher is not None
    student = task_type(task).auto.from_config(planned_config(spec, teacher.config, task))
    if spec.init == "teacher" and not spec.measures:
        layers = copied_layers(spec, student.config.num_hidden_layers, teacher.config)
        copy_layers(student, teacher, layers, teacher_columns)
    elif spec.init == "pca":
        narrow_embeddings(student, teacher)
    if spec.freeze_head and not spec.measures:
        copy_head(student, teacher, teacher_columns)
    return student


def start_measured(
    spec: StudentSpec,
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    teacher_columns: list[int] | None,
    batches: Iterable[Batch],
) -> list[int]:
    """Give a student whose spec `measures` what it keeps of the teacher, in place; return the layers, from 1.

    batches: of model inputs, of real texts.
    """
    depth, batches = student.config.num_hidden_layers, list(batches)
    if spec.layers_by == MEASURED:
        layers = most_influential(teacher, batches, depth)
    else:
        layers = copied_layers(spec, depth, teacher.config)
    if spec.init == "pruned":
        prune_into(student, teacher, batches, layers)
        if teacher_columns is not None:
            select_outputs(student, teacher_columns, len(teacher_columns))
    else:
        copy_layers(student, teacher, layers, teacher_columns)
    if spec.freeze_head:
        copy_head(student, teacher, teacher_columns)
    return layers


def copied_layers(spec: StudentSpec, depth: int, teacher: PreTrainedConfig) -> list[int]:
    """The teacher layers (from 1) that a student of `depth` layers starts from, where they need no measurement."""
    teacher_layers, first_stays = teacher.num_hidden_layers, family_of(teacher).first_stays
    if spec.layers_from is None:
        rule = "uniform" if spec.layers_by in (None, MEASURED) else str(spec.layers_by)
        return chosen_by(rule, depth, teacher_layers, first_stays=first_stays)
    if len(spec.layers_from) != depth:
        raise _wrong_layers(
            spec,
            f"names {len(spec.layers_from)} teacher layers, but the student has {depth} layers",
            "name one for each",
        )
    for n in spec.layers_from:
        if not 1 <= n <= teacher_layers:
            raise _wrong_layers(spec, f"names layer {n}, but the teacher has layers 1 to {teacher_layers}")
    if first_stays and (spec.layers_from[0] != 1 or 1 in spec.layers_from[1:]):
        raise _wrong_layers(
            spec,
            f"must begin with layer 1, and hold it once: the first layer of a '{teacher.model_type}' lacks the norm "
            "that all others begin with",
        )
    return list(spec.layers_from)


def _wrong_layers(spec: StudentSpec, problem: str, hint: str = "") -> ConfigError:
    return ConfigError(problem, argument="layers_from", value=spec.layers_from, hint=hint, section="student")


def planned_config(spec: StudentSpec, teacher: PreTrainedConfig, task: Task) -> PreTrainedConfig:
    """Return the config of a student that is cut from a teacher; raises ConfigError for sizes that do not fit."""
    if spec.init not in INITS:
        raise ConfigError(
            f"is unknown{nearest(spec.init, INITS)}",
            argument="init",
            value=spec.init,
            hint=f"choose from {', '.join(INITS)}",
            section="student",
        )
    family = family_of(teacher)
    reason = family.uncuttable(teacher)
    if reason is not None:
        raise ConfigError(
            f"kdfeatures cannot derive a student from the config of a '{teacher.model_type}' teacher: {reason}",
            hint="make the student yourself, or take one of another family, and give its path",
            key="student.family",
            model_type=teacher.model_type,
            reason=reason,
        )
    if not 0 < spec.layer_share <= 1:
        raise ConfigError(
            "must be above 0 and at most 1", argument="layer_share", value=spec.layer_share, section="student"
        )
    share = math.ceil(spec.layer_share * teacher.num_hidden_layers)
    depth = _positive(spec.layers, "layers", len(spec.layers_from) if spec.layers_from else share)
    _check_choice(spec, depth, teacher)
    config = _of_depth(spec, depth, teacher, task)
    config.dtype = torch.float32  # whatever the teacher runs in
    if not family.resizable:
        _check_widths(spec, teacher)
        _check_init(spec, config, teacher)
        return config
    config.hidden_size = _positive(spec.hidden_size, "hidden_size", teacher.hidden_size)
    config.num_attention_heads = _positive(spec.heads, "heads", teacher.num_attention_heads)
    if config.hidden_size % config.num_attention_heads:
        raise ConfigError(
            f"hidden_size={config.hidden_size} is not a multiple of heads={config.num_attention_heads}",
            hint="choose heads so that it divides the width",
            key="student.heads",
            hidden_size=config.hidden_size,
            heads=config.num_attention_heads,
        )
    name = family_of(teacher).intermediate_size
    same_width = config.hidden_size == teacher.hidden_size
    usual = getattr(teacher, name) if same_width else 4 * config.hidden_size
    setattr(config, name, _positive(spec.intermediate_size, "intermediate_size", usual))
    _check_init(spec, config, teacher)
    return config


def _of_depth(spec: StudentSpec, depth: int, teacher: PreTrainedConfig, task: Task) -> PreTrainedConfig:
    """Return the teacher's config with another depth, and what it says of each layer of those that are kept."""
    changes: dict[str, Any] = {"num_hidden_layers": depth}
    types = getattr(teacher, "layer_types", None)
    if types is not None:
        if spec.layers_by == MEASURED:
            raise _wrong_choice(
                spec,
                f"is not for a '{teacher.model_type}', whose layers are of several types, which must be known before "
                "any text is read",
                "choose another, or name layers_from",
            )
        changes["layer_types"] = [types[n - 1] for n in copied_layers(spec, depth, teacher)]
    return type(teacher).from_dict(teacher.to_dict() | label_settings(task) | changes)


def _check_widths(spec: StudentSpec, teacher: PreTrainedConfig) -> None:
    """Raise ConfigError for other widths than the teacher's, of a family whose config does not tell what they mean."""
    names = {
        "hidden_size": "hidden_size",
        "heads": "num_attention_heads",
        "intermediate_size": family_of(teacher).intermediate_size,
    }
    for name, of_config in names.items():
        value, its = getattr(spec, name), getattr(teacher, of_config)
        if value not in (None, its):
            raise ConfigError(
                f"is not the teacher's {its}, and students of a '{teacher.model_type}' keep its widths",
                argument=name,
                value=value,
                hint="leave it out, or make the student yourself and give its path",
                section="student",
            )


def _check_choice(spec: StudentSpec, depth: int, teacher: PreTrainedConfig) -> None:
    if spec.layers_by is None:
        return
    if spec.layers_by not in RULES:
        raise _wrong_choice(spec, f"is unknown{nearest(spec.layers_by, RULES)}", f"choose from {', '.join(RULES)}")
    if spec.layers_from is not None:
        raise _wrong_choice(spec, f"chooses layers that layers_from={list(spec.layers_from)} names already")
    if spec.init not in ("teacher", "pruned"):
        raise _wrong_choice(spec, f"chooses layers to copy, but init={spec.init} copies none")
    if depth > teacher.num_hidden_layers and spec.layers_by != "uniform":
        raise _wrong_choice(
            spec, f"chooses each layer once, but the student has {depth} and the teacher {teacher.num_hidden_layers}"
        )


def _wrong_choice(spec: StudentSpec, problem: str, hint: str = "leave out one of them") -> ConfigError:
    return ConfigError(problem, argument="layers_by", value=spec.layers_by, hint=hint, section="student")


def _check_init(spec: StudentSpec, config: PreTrainedConfig, teacher: PreTrainedConfig) -> None:
    depth, teacher_depth = config.num_hidden_layers, teacher.num_hidden_layers
    if spec.init in ("teacher", "pruned") and spec.layers_from is None and depth > teacher_depth:
        raise ConfigError(
            f"init={spec.init} copies layers, but layers={depth} is more than the teacher's {teacher_depth}",
            hint="choose at most as many, name the layers to copy with layers_from, or use init=random",
            key="student.too_deep",
            init=spec.init,
            depth=depth,
            teacher_depth=teacher_depth,
        )
    if spec.init == "teacher":
        _check_copy(spec, config, teacher)
    elif spec.init == "pruned":
        _check_pruning(spec, config, teacher)
    elif spec.layers_from is not None:
        raise ConfigError(
            f"layers_from={list(spec.layers_from)} names layers to copy, but init={spec.init} copies none",
            hint="leave out one of them",
            key="student.copies_none",
            layers_from=list(spec.layers_from),
            init=spec.init,
        )
    if spec.measures and spec.init_examples < 4:
        raise ConfigError("must be at least 4", argument="init_examples", value=spec.init_examples, section="student")
    if spec.init == "pca" and config.hidden_size >= teacher.hidden_size:
        raise ConfigError(
            f"init=pca makes embeddings narrower, but hidden_size={config.hidden_size} is not below the teacher's "
            f"{teacher.hidden_size}",
            hint="choose a smaller one, or init=teacher",
            key="student.pca",
            hidden_size=config.hidden_size,
            teacher_size=teacher.hidden_size,
        )


def _check_pruning(spec: StudentSpec, config: PreTrainedConfig, teacher: PreTrainedConfig) -> None:
    if teacher.model_type not in PRUNABLE:
        raise ConfigError(
            f"init=pruned cuts {', '.join(PRUNABLE)}, but the teacher is a '{teacher.model_type}'",
            hint="use init=teacher, pca or random",
            key="student.prunable",
            model_type=teacher.model_type,
            prunable=", ".join(PRUNABLE),
        )
    if config.hidden_size > teacher.hidden_size:
        raise ConfigError(
            f"init=pruned keeps directions of the teacher's {teacher.hidden_size}, so hidden_size={config.hidden_size} "
            "is too many",
            hint="choose at most as many, or init=random",
            key="student.pruned_width",
            hidden_size=config.hidden_size,
            teacher_size=teacher.hidden_size,
        )
    copied_layers(spec, config.num_hidden_layers, teacher)


def _check_copy(spec: StudentSpec, config: PreTrainedConfig, teacher: PreTrainedConfig) -> None:
    name = family_of(teacher).intermediate_size
    for size, student_size, teacher_size in (
        ("hidden_size", config.hidden_size, teacher.hidden_size),
        ("heads", config.num_attention_heads, teacher.num_attention_heads),
        ("intermediate_size", getattr(config, name), getattr(teacher, name)),
    ):
        if student_size != teacher_size:
            raise ConfigError(
                f"init=teacher copies whole layers, but {size}={student_size} and the teacher has {teacher_size}",
                hint="use init=pruned for smaller sizes, or random",
                key="student.copy_sizes",
                size=size,
                student_size=student_size,
                teacher_size=teacher_size,
            )
    copied_layers(spec, config.num_hidden_layers, teacher)


def _positive(value: int | None, name: str, otherwise: int) -> int:
    if value is not None and value < 1:
        raise ConfigError("must be at least 1", argument=name, value=value, section="student")
    return otherwise if value is None else value
