"""What an inspection is of: its settings, layers and texts, checked before any model is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from datasets import Dataset
from omegaconf import DictConfig
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from kdfeatures.analysis.head_similarity import MEASURES
from kdfeatures.capture.families import FAMILIES
from kdfeatures.config.objective import build_pairs
from kdfeatures.config.schema import DataConfig, InspectConfig, section
from kdfeatures.data.corpus import load_text
from kdfeatures.data.load import encode, load_task, split_of
from kdfeatures.data.subsets import sample
from kdfeatures.errors import UserError, nearest
from kdfeatures.mapping.rules import LayerPair
from kdfeatures.pipelines.inputs import DATA_SEED
from kdfeatures.pipelines.text_inputs import check_reading
from kdfeatures.tasks.task import Task


def inspect_settings(cfg: DictConfig) -> InspectConfig:
    """Return the section `inspect`; raises UserError for measures that are unknown and numbers that are too small."""
    settings = section(cfg, "inspect", InspectConfig)
    for name in settings.measures:
        if name not in MEASURES:
            known = ", ".join(MEASURES)
            raise UserError(f"inspect.measures holds {name}{nearest(name, MEASURES)}; choose from {known}.")
    if not settings.measures or len(set(settings.measures)) < len(settings.measures):
        raise UserError(f"inspect.measures={settings.measures} must name one measure or more, each once.")
    for name, least in (("examples", 4), ("batch_size", 2), ("sentences", 0), ("sentence_tokens", 1)):
        if getattr(settings, name) < least:
            raise UserError(f"inspect.{name}={getattr(settings, name)} must be at least {least}.")
    if not settings.sentences and not settings.texts:
        raise UserError("inspect.sentences=0 and no inspect.texts leave no sentence to show; ask for one.")
    return settings


def inspected_pairs(cfg: DictConfig, configs: Mapping[str, PreTrainedConfig]) -> tuple[LayerPair, ...]:
    """Return the mapped pairs of layers, without the embeddings, which have no heads.

    configs: of `teacher`, `student` and perhaps `before`. Raises UserError for a layer that does not exist, and for a
    student before distillation that has another depth.
    """
    student, teacher = configs["student"].num_hidden_layers, configs["teacher"].num_hidden_layers
    pairs = build_pairs(cfg.mapping, "mapping", student, teacher, cfg.allow_targets)
    if "before" in configs and configs["before"].num_hidden_layers != student:
        raise UserError(
            f"before.path={cfg.before.path} has {configs['before'].num_hidden_layers} layers, but the student has "
            f"{student}; give the student as it was before distillation, or before.path=null."
        )
    found = tuple(pair for pair in pairs if pair.student and pair.teacher)
    if not found:
        raise UserError("the mapping pairs nothing but the embeddings, which have no heads; name other layers.")
    return found


def check_scores(settings: InspectConfig, configs: Mapping[str, PreTrainedConfig]) -> None:
    """Raise UserError when scores are to be compared that do not follow from q and k."""
    for name, config in configs.items():
        family = FAMILIES.get(config.model_type)
        if "correlation" in settings.measures and family is not None and family.positional(config):
            raise UserError(
                f"inspect.measures holds correlation, but {name}.path is a '{config.model_type}', which adds relative "
                "positions to its scores; set inspect.measures=[divergence,cka]."
            )


def head_count(config: PreTrainedConfig) -> int:
    """Return the attention heads of a layer."""
    family = FAMILIES.get(config.model_type)
    return config.num_attention_heads if family is None else family.heads(config)


def inspected_examples(
    task: Task, data: DataConfig, split: str, tokenizer: PreTrainedTokenizerBase, *, count: int, seed: int
) -> Dataset:
    """Return at most `count` examples of a split, chosen by the seed, encoded. Of unlabelled text each is one text."""
    check_reading(task, data)
    if data.streaming:
        raise UserError("data.streaming=true has no use here: a few texts are chosen from all; leave it out.")
    if task.has_labels:
        raw = split_of(load_task(task, data.path, seed=DATA_SEED), task, split)
    else:
        task = replace(task.without_outputs, reading=replace(task.reading, blocks=False))
        raw = split_of(load_text(task, data.path, streaming=False), task, split)
    return encode(sample(raw, count, seed), tokenizer, task, data.max_length)
