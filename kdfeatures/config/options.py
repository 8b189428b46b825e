"""The options of each command that stand in no section, and the sections it needs, with their types and ranges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, TypeVar

from kdfeatures.config.schema import NODE as Section
from kdfeatures.config.schema import section
from kdfeatures.ranges import MAX_COUNT, MAX_LAYERS, Count, OneOf, Range, Seed
from kdfeatures.runs.folder import EXISTING

Resamples = Annotated[int, Range(10, MAX_COUNT)]


@dataclass(frozen=True)
class CommonOptions:
    """Of every command."""

    seed: Annotated[int, Seed]
    existing: Annotated[str, OneOf(EXISTING)]
    allow_targets: list[str]
    output_dir: str | None


@dataclass(frozen=True)
class TaskOptions(CommonOptions):
    """Of commands that read a task's data."""

    split: str
    task: Section
    data: Section


@dataclass(frozen=True)
class FinetuneOptions(TaskOptions):
    """Of `kdfeatures finetune`."""

    model: Section
    trainer: Section
    class_weights: Any
    push_to_hub: str | None
    hub_private: bool | None


@dataclass(frozen=True)
class TeachingOptions(TaskOptions):
    """Of commands that bring a teacher and a student together."""

    teacher: Section
    student: Section
    mapping: Section
    heads: Section
    projection: Section
    balance: Section
    mixup: Section
    augmentation: Section
    cache: Section
    losses: Section
    teachers: Section
    stages: Section


@dataclass(frozen=True)
class CacheOptions(TeachingOptions):
    """Of `kdfeatures cache`."""

    more: Section


@dataclass(frozen=True)
class DistillOptions(TeachingOptions):
    """Of `kdfeatures distill` and of `explain`."""

    trainer: Section
    freeze_below: Annotated[int | None, Range(1, MAX_LAYERS)]
    push_to_hub: str | None
    hub_private: bool | None
    explain: bool


@dataclass(frozen=True)
class EvaluateOptions(TaskOptions):
    """Of `kdfeatures evaluate`."""

    model: Section
    outputs: str | None


@dataclass(frozen=True)
class ExportOptions(TaskOptions):
    """Of `kdfeatures export`."""

    model: Section
    resamples: Resamples


@dataclass(frozen=True)
class InspectOptions(TaskOptions):
    """Of `kdfeatures inspect`."""

    teacher: Section
    student: Section
    before: Section
    mapping: Section
    inspect: Section


@dataclass(frozen=True)
class CompareOptions(CommonOptions):
    """Of `kdfeatures compare`."""

    runs: str
    baseline: str | None
    resamples: Resamples


@dataclass(frozen=True)
class DemoOptions(CommonOptions):
    """Of `kdfeatures demo`."""

    split: str
    task: Section
    metric: str
    max_length: Annotated[int, Count]
    baseline: str
    labelled: Annotated[int, Count]
    seeds: Annotated[list[int], Seed]
    processes: Annotated[int | None, Range(1, 1024)]
    threads: Annotated[int | None, Range(1, 1024)]
    finetune: list[str]
    distill: list[str]
    arms: dict[str, list[str]]


@dataclass(frozen=True)
class SubmissionOptions(CommonOptions):
    """Of `kdfeatures submission`."""

    file: str | None


@dataclass(frozen=True)
class PushOptions(CommonOptions):
    """Of `kdfeatures push`."""

    run: str | None
    repository: str | None
    dry_run: bool
    hub_private: bool | None


Options = TypeVar("Options", bound=CommonOptions)


def options(config: Mapping[str, Any], kind: type[Options]) -> Options:
    """Return those of a command's composed config. Raises UserError for a value of another type, or out of range."""
    given = {entry.name: config[entry.name] for entry in fields(kind) if entry.name in config}
    return section({"": given}, "", kind)


def with_types(config: Mapping[str, Any], kind: type[CommonOptions]) -> dict[str, Any]:
    """Return the config with these options in their types."""
    return {**config, **vars(options(config, kind))}
