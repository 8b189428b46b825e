"""Load models and tokenizers from a folder or the Hub, with errors a user can act on."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForMaskedLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from kdfeatures.errors import UserError
from kdfeatures.hub import require_model
from kdfeatures.tasks.label_order import align_labels
from kdfeatures.tasks.registry import TaskType, task_type
from kdfeatures.tasks.task import Task


def load_tokenizer(path: str, option: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer at `path`; `option` is how the user named it, for the error."""
    _require(path, option)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{option}={path} holds no tokenizer that can be loaded: {_first_line(error)}") from error
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        # without its files transformers makes one of the model's kind that turns every word into [UNK]
        raise UserError(f"{option}={path} holds no tokenizer; copy tokenizer.json and tokenizer_config.json there.")
    return tokenizer


def load_trained(path: str, option: str, kind: TaskType, *, force: bool) -> PreTrainedModel:
    """Load a model with the head for this kind of task that it was trained with.

    Raises UserError when the checkpoint has no such head (its weights would be random), unless `force`.
    """
    model, missing = _load(path, option, kind, {})
    missing = _of_encoder(model, missing) if model.base_model is model else missing
    if missing and not force:
        raise UserError(
            f"{option}={path} {kind.untrained}: its checkpoint lacks {missing[0]}{_and_more(missing)}. {kind.remedy}"
        )
    return model


def load_scored(
    path: str, option: str, task: Task, *, force: bool, force_option: str | None
) -> tuple[PreTrainedModel, list[int] | None]:
    """Load a trained model, to the GPU if there is one; return it and its columns in the order of the task's labels.

    columns: None where the task has no labels. force_option: how errors name `force`, see align_labels.
    """
    model = load_trained(path, option, task_type(task), force=force)
    move(model)
    if not task.has_labels:
        return model, None
    whose = f"the model {path}"
    return model, align_labels(model.config.id2label, task.labels, whose=whose, force=force, option=force_option)


def move(model: nn.Module, device: str | torch.device | None = None) -> None:
    """Move a model, in place; by default to the GPU if there is one. (`to` of transformers' models has no types.)"""
    model.to(("cuda" if torch.cuda.is_available() else "cpu") if device is None else device)


def load_for_task(path: str, option: str, task: Task) -> PreTrainedModel:
    """Load a pretrained encoder and give it the task's labels; a head that does not fit is drawn anew.

    Raises UserError when the checkpoint lacks a part of the encoder, which would then be random.
    """
    model, missing = _load(path, option, task_type(task), label_settings(task))
    encoder = _of_encoder(model, missing)
    if encoder:
        raise UserError(
            f"{option}={path} is not the {model.config.model_type} encoder that its config.json describes: its "
            f"checkpoint lacks {encoder[0]}{_and_more(encoder)}."
        )
    return model


def load_masked_model(path: str, option: str) -> PreTrainedModel:
    """Load a masked language model with the head it was trained with; raises UserError when the checkpoint has none."""
    load_config(path, option)
    try:
        model, info = AutoModelForMaskedLM.from_pretrained(path, output_loading_info=True)
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{option}={path} holds no masked language model: {_first_line(error)}") from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise UserError(
            f"{option}={path} has no masked-language-model head: its checkpoint lacks {missing[0]}{_and_more(missing)}."
        )
    return model.float().eval()


def load_config(path: str, option: str):
    """Load the config at `path`."""
    _require(path, option)
    try:
        return AutoConfig.from_pretrained(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{option}={path} holds no model config that can be loaded: {_first_line(error)}") from error


def label_settings(task: Task) -> dict:
    """The config fields that tell a model the task's labels."""
    if task.is_regression:
        # transformers' own name for the one output; without it configs with more labels warn that these do not fit
        label_names = {"id2label": {0: "LABEL_0"}, "label2id": {"LABEL_0": 0}}
        return {"num_labels": 1, "problem_type": "regression", **label_names}
    if not task.has_labels:
        return {}
    settings = {
        "num_labels": task.num_labels,
        "id2label": dict(enumerate(task.labels)),
        "label2id": {name: i for i, name in enumerate(task.labels)},
    }
    return settings | ({"problem_type": "single_label_classification"} if task.kind == "sequence" else {})


def parameter_count(model: PreTrainedModel) -> int:
    """All parameters, embeddings included, each counted once."""
    return sum(parameter.numel() for parameter in model.parameters())


def _load(path: str, option: str, kind: TaskType, settings: dict) -> tuple[PreTrainedModel, list[str]]:
    load_config(path, option)
    try:
        model, info = kind.auto.from_pretrained(
            path, output_loading_info=True, ignore_mismatched_sizes=True, **settings
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{option}={path} holds no model that can be loaded: {_first_line(error)}") from error
    head = {name for name, _ in model.named_parameters() if not name.startswith(f"{model.base_model_prefix}.")}
    for name, saved, expected in sorted(info["mismatched_keys"]):
        # a head for other labels is drawn anew; anything else would silently become random
        if name not in head or not settings:
            raise UserError(
                f"{option}={path} contradicts itself: {name} is {tuple(saved)} in its checkpoint, but its config.json "
                f"asks for {tuple(expected)}."
            )
    return model.float(), sorted(info["missing_keys"])


def _of_encoder(model: PreTrainedModel, names: list[str]) -> list[str]:
    """Those of the parameters `names` that the encoder cannot do without."""
    prefix = "" if model.base_model is model else f"{model.base_model_prefix}."
    return [name for name in names if name.startswith(prefix) and not name.removeprefix(prefix).startswith("pooler.")]


def _require(path: str, option: str) -> None:
    if Path(path).is_dir():
        if not (Path(path) / "config.json").is_file():
            raise UserError(f"{option}={path} is a folder without config.json, so it holds no model.")
        return
    if Path(path).is_absolute() or path.startswith((".", "~")) or path.count("/") > 1:
        raise UserError(f"{option}={path}: no such folder.")
    require_model(path, f"{option}={path}")


def _and_more(names: list[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
