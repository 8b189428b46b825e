"""What an inspection is of: its layers, heads and texts, checked before any model is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from datasets import Dataset
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from kdfeatures.analysis.settings import InspectSettings
from kdfeatures.capture.families import FAMILIES
from kdfeatures.config.option_errors import option
from kdfeatures.config.settings import InspectRunSettings
from kdfeatures.data.corpus import load_text
from kdfeatures.data.load import DATA_SEED, encode, load_task, split_of
from kdfeatures.data.settings import DataSettings, check_data
from kdfeatures.data.subsets import sample
from kdfeatures.errors import UserError
from kdfeatures.evaluation.encoded import token_counts
from kdfeatures.mapping.pairs import LayerPair
from kdfeatures.mapping.resolve import resolve_map
from kdfeatures.tasks.registry import task_type
from kdfeatures.tasks.task import Task
from kdfeatures.tokenization.teacher_columns import Tokenizers, with_teacher_inputs


def inspected_pairs(settings: InspectRunSettings, configs: Mapping[str, PreTrainedConfig]) -> tuple[LayerPair, ...]:
    """Return the mapped pairs of layers, without the embeddings, which have no heads.

    configs: of `teacher`, `student` and perhaps `before`. Raises UserError for a layer that does not exist, and for a
    student before distillation that has another depth.
    """
    student, teacher = configs["student"].num_hidden_layers, configs["teacher"].num_hidden_layers
    pairs = _fixed(settings, student, teacher)
    if "before" in configs and configs["before"].num_hidden_layers != student:
        raise UserError(
            f"before.path={settings.before} has {configs['before'].num_hidden_layers} layers, but the student has "
            f"{student}; give the student as it was before distillation, or before.path=null."
        )
    with_heads = tuple(pair for pair in pairs if pair.student and pair.teacher)
    if not with_heads:
        raise UserError("the mapping pairs nothing but the embeddings, which have no heads; name other layers.")
    return with_heads


def _fixed(settings: InspectRunSettings, student_layers: int, teacher_layers: int) -> tuple[LayerPair, ...]:
    with option("mapping"):
        pairs, dynamic = resolve_map(settings.mapping, student_layers, teacher_layers)
    if dynamic is not None:
        raise UserError(
            f"mapping={dynamic.rule} has no fixed pairs, of which each could be a stage; choose another map, such as "
            "mapping@mapping=uniform."
        )
    return pairs


def check_scores(settings: InspectSettings, configs: Mapping[str, PreTrainedConfig]) -> None:
    """Raise UserError when scores are to be compared that are not known."""
    for name, config in configs.items():
        family = FAMILIES.get(config.model_type)
        reason = None if family is None else family.hides_scores(config)
        if "correlation" in settings.measures and reason is not None:
            raise UserError(
                f"inspect.measures holds correlation, but {name}.path is a '{config.model_type}', which {reason}; set "
                "inspect.measures=[divergence,cka]."
            )


def head_count(config: PreTrainedConfig) -> int:
    """Return the attention heads of a layer."""
    family = FAMILIES.get(config.model_type)
    return config.num_attention_heads if family is None else family.heads(config)


def inspected_examples(
    task: Task,
    data: DataSettings,
    split: str,
    tokenizer: PreTrainedTokenizerBase,
    others: Tokenizers,
    *,
    count: int,
    seed: int,
) -> tuple[Dataset, list[tuple[str, ...] | None]]:
    """Return at most `count` examples of a split, chosen by the seed, encoded for both models, and their texts.

    The texts, one or two an example, are as they were written; None for an example that was cut, or that is not a row
    of the split. Of unlabelled text each is one text. others: the teacher's tokenizer by its name, where it is another.
    """
    check_data(task, data)
    if data.streaming:
        raise UserError("data.streaming=true has no use here: a few texts are chosen from all; leave it out.")
    if not task.is_text:
        raw = split_of(load_task(task, data.path, revision=data.revision, seed=DATA_SEED), task, split)
    else:
        task = replace(task.without_outputs, reading=replace(task.text_reading, blocks=False))
        raw = split_of(load_text(task, data.path, revision=data.revision, streaming=False), task, split)
    chosen, task = task_type(task).as_read(sample(raw, count, seed), task)
    encoded = encode(chosen, tokenizer, task, data.max_length)
    written = _written(chosen, task, encoded, data.max_length)
    return with_teacher_inputs(chosen, encoded, task, tokenizer, others, data.max_length), written


def _written(rows: Dataset, task: Task, encoded: Dataset, max_length: int) -> list[tuple[str, ...] | None]:
    if len(rows) != len(encoded) or not set(task.text) <= set(rows.column_names):
        return [None] * len(encoded)
    columns = ([_plain(text) for text in rows[column]] for column in task.text)
    lengths = token_counts(encoded).tolist()
    written = zip(*columns, strict=True)
    return [texts if length < max_length else None for length, texts in zip(lengths, written, strict=True)]


def _plain(text: str | list[str]) -> str:
    return text if isinstance(text, str) else " ".join(text)
