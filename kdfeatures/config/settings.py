"""What each command is to do, typed and checked: all that lies below this package ever sees of a configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kdfeatures.analysis.settings import InspectSettings
from kdfeatures.cache.settings import CacheSettings
from kdfeatures.data.augmentation.settings import AugmentationSettings
from kdfeatures.data.settings import DataSettings
from kdfeatures.distillation.objective import Objective
from kdfeatures.losses import HardLabel
from kdfeatures.mapping.resolve import LayerMap
from kdfeatures.models.encoders import EncoderSpec
from kdfeatures.models.students import StudentSpec
from kdfeatures.models.teachers import OtherTeacherSettings, TeacherSettings
from kdfeatures.tasks.task import Task
from kdfeatures.training.arguments import TrainerSettings

Record = Mapping[str, Any]  # the resolved configuration, which results.json keeps


@dataclass(frozen=True)
class OutputSettings:
    """existing: what to do when the folder holds a run: refuse, resume, overwrite.

    push_to_hub: a repository that the finished model is uploaded to; hub_private: of one that is made.
    """

    existing: str = "refuse"
    push_to_hub: str | None = None
    hub_private: bool | None = None


@dataclass(frozen=True)
class FinetuneSettings:
    """A model trained on labels. split: what is reported. loss: that it is trained by."""

    task: Task
    data: DataSettings
    model: EncoderSpec
    trainer: TrainerSettings
    seed: int
    split: str
    output: OutputSettings
    record: Record
    loss: HardLabel = field(default_factory=HardLabel)


@dataclass(frozen=True)
class StageSettings:
    """One stage of a distillation, or all of one that has none.

    name, key: of the stage, and its place among the config's. teacher, others: the main teacher and further ones.
    freeze_below: a student layer; embeddings and layers below it are not trained. explain: report what each term does.
    """

    name: str
    key: str
    born_again: bool
    task: Task
    data: DataSettings
    teacher: TeacherSettings
    others: Mapping[str, OtherTeacherSettings]
    student: StudentSpec
    objective: Objective
    cache: CacheSettings | None
    augmentation: AugmentationSettings | None
    trainer: TrainerSettings | None
    seed: int
    split: str
    freeze_below: int | None
    explain: bool
    recipe: str | None
    record: Record


@dataclass(frozen=True)
class DistillSettings:
    """A distillation: its stages in their order. has_stages: whether they have folders of their own.

    teacher_training: how a teacher is trained where none is given; generated tasks only.
    """

    task: Task
    stages: Sequence[StageSettings]
    has_stages: bool
    teacher_training: FinetuneSettings | None
    output: OutputSettings
    record: Record


@dataclass(frozen=True)
class CacheRunSettings:
    """A cache to fill with what a distillation takes, and with `more` quantities: (kind, layer)."""

    distillation: DistillSettings
    cache: CacheSettings
    more: Sequence[tuple[str, int]] = field(default=())


@dataclass(frozen=True)
class EvaluateSettings:
    """A model to score on a split. outputs: a folder for its logits."""

    task: Task
    data: DataSettings
    path: str
    force: bool
    batch_size: int
    seed: int
    split: str
    outputs: str | None
    output: OutputSettings
    record: Record


@dataclass(frozen=True)
class ExportSettings:
    """A model to write as ONNX and int8, and to score beside them. resamples: of the bootstrap."""

    task: Task
    data: DataSettings
    path: str
    force: bool
    batch_size: int
    seed: int
    split: str
    resamples: int
    output: OutputSettings
    record: Record


@dataclass(frozen=True)
class InspectRunSettings:
    """Two models to compare. before: a path, "auto" or None. mapping: which layers are matched."""

    task: Task
    data: DataSettings
    split: str
    seed: int
    teacher: str
    student: str
    before: str | None
    mapping: LayerMap
    inspect: InspectSettings
    output: OutputSettings
    record: Record
