"""The typed shape of what conf/ composes. Values live in the YAML files; here are names and types only.

Merging a composed config into these classes turns `student.layers=three` into one line that names the key.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kdfeatures.errors import UserError

Section = TypeVar("Section")


@dataclass
class DataConfig:
    """path: GLUE folder, None = the Hub. train_examples, labelled: how many to use, and how many keep their label."""

    path: str | None
    max_length: int
    train_examples: int | None
    labelled: int | None


@dataclass
class ModelConfig:
    """path: folder or Hub id to fine-tune; None draws a random encoder of these sizes (generated tasks only)."""

    path: str | None
    layers: int
    hidden_size: int
    heads: int
    intermediate_size: int


@dataclass
class TeacherConfig:
    """path: folder or Hub id; None trains one as `model` and `trainer` say (generated tasks only).

    force: distil a teacher whose label names or quality would be refused.
    """

    path: str | None
    force: bool
    model: ModelConfig
    trainer: Any


@dataclass
class EvaluatedConfig:
    """path: folder or Hub id. force: score a model whose head or label names would be refused."""

    path: str | None
    force: bool
    batch_size: int


@dataclass
class StudentConfig:
    """path: a pretrained student; otherwise sizes (None: as the teacher) and init = teacher | random."""

    path: str | None
    init: str
    layers: int | None
    layers_from: list[int] | None
    hidden_size: int | None
    heads: int | None
    intermediate_size: int | None


def section(cfg: DictConfig, name: str, kind: type[Section]) -> Section:
    """Return `cfg[name]` as an object of `kind`. Raises UserError that names the key and the value it cannot take."""
    node = cfg[name]
    try:
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(kind(**_nothing(kind))), node))
    except OmegaConfBaseException as error:
        key = error.full_key or ""
        raise UserError(f"{name}.{key}: {str(error.msg or error).splitlines()[0]}") from error


def _nothing(kind: type) -> dict[str, Any]:
    return {field.name: "???" for field in fields(kind)}
