"""The typed shape of what conf/ composes. Values live in the YAML files; here are names and types only.

Merging a composed config into these classes turns `student.layers=three` into one line that names the key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, make_dataclass
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kdfeatures.errors import UserError

Section = TypeVar("Section")
PLAIN = {bool, int, float, str, NoneType}


@dataclass
class DataConfig:
    """path: GLUE folder, None = the Hub. train_examples, labelled: how many to use, and how many keep their label.

    held_out: the share of the training examples that becomes split=selection.
    streaming: text without labels is read while training. pool: a file of further text for training, without labels.
    """

    path: str | None
    max_length: int
    streaming: bool
    train_examples: int | None
    held_out: float | None
    labelled: int | None
    pool: str | None


@dataclass
class ModelConfig:
    """path: folder or Hub id to fine-tune; None draws a random encoder of these sizes (generated tasks only)."""

    path: str | None
    layers: int
    hidden_size: int
    heads: int
    intermediate_size: int
    dropout: float
    initializer_range: float


@dataclass
class TeacherConfig:
    """path: folder or Hub id; None trains one as `model` and `trainer` say (generated tasks only).

    weight: its share in the averaged distribution of several teachers.
    outputs: file or folder of its answers instead of a model, found by id_column of the data
    (kdfeatures.data.predictions_file).
    force: distil a teacher whose label names or quality would be refused. dtype, compile: how it runs when it teaches.
    """

    path: str | None
    outputs: str | None
    id_column: str | None
    weight: float
    force: bool
    dtype: str
    compile: bool
    model: ModelConfig
    trainer: Any


@dataclass
class OtherTeacherConfig:
    """A further teacher: path and weight as those of TeacherConfig; in all else it is treated like the main one.

    shuffled: its weights in random order, a control: what is matched then means nothing. permuted: it reads other texts
    of the batch than the student, another control.
    """

    path: str
    weight: float
    shuffled: bool
    permuted: bool


@dataclass
class EvaluatedConfig:
    """path: folder or Hub id. force: score a model whose head or label names would be refused."""

    path: str | None
    force: bool
    batch_size: int


@dataclass
class StudentConfig:
    """path: a pretrained student; otherwise init = teacher | random, and sizes.

    None: as many layers as layers_from, or layer_share of the teacher's, and in all else the teacher's. seed: of random
    weights; None is the run's.
    """

    path: str | None
    init: str
    layers: int | None
    layer_share: float
    layers_from: list[int] | None
    hidden_size: int | None
    heads: int | None
    intermediate_size: int | None
    seed: int | None


@dataclass
class PathConfig:
    """path: folder or Hub id, or None."""

    path: str | None


@dataclass
class InspectConfig:
    """measures: of heads. examples, batch_size: what these are measured on.

    sentences, sentence_tokens: how many examples the page shows, and the longest of them. texts: the user's own, each a
    string or a list of two.
    """

    measures: list[str]
    examples: int
    batch_size: int
    sentences: int
    sentence_tokens: int
    texts: list[Any]
    max_page_mib: float


def section(cfg: DictConfig, name: str, kind: type[Section]) -> Section:
    """Return `cfg[name]` as an object of `kind`. Raises UserError that names the key and the value it cannot take."""
    node = cfg[name]
    try:
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(kind(**_nothing(kind))), node))
    except OmegaConfBaseException as error:
        raise _explained(error, name) from error


def typed(values: Mapping[str, Any], declared: Mapping[str, Any], option: str) -> dict[str, Any]:
    """Return `values` with those of a declared plain type (bool, int, float, str, or None) converted to it.

    So `no` is false where a bool is declared. Raises UserError that names the key below `option` and the value.
    """
    types = {name: kind for name, kind in declared.items() if name in values and _is_plain(kind)}
    kind = make_dataclass("Values", types.items())
    try:
        shape = OmegaConf.structured(kind(**_nothing(kind)))
        converted = OmegaConf.to_container(OmegaConf.merge(shape, {name: values[name] for name in types}))
    except OmegaConfBaseException as error:
        raise _explained(error, option) from error
    return {**values, **converted}


def _explained(error: OmegaConfBaseException, option: str) -> UserError:
    return UserError(f"{option}.{error.full_key or ''}: {str(error.msg or error).splitlines()[0]}")


def _is_plain(kind: Any) -> bool:
    return set(get_args(kind) if get_origin(kind) in (Union, UnionType) else [kind]) <= PLAIN


def _nothing(kind: type) -> dict[str, Any]:
    return {field.name: "???" for field in fields(kind)}
