"""Load models from a folder or the Hub: all weights where they belong, with errors a user can act on."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForMaskedLM, PreTrainedConfig, PreTrainedModel

from kdfeatures.embeddings.folder import read_pooling
from kdfeatures.embeddings.pooling import give_vectors
from kdfeatures.errors import UserError
from kdfeatures.models.configs import load_config
from kdfeatures.models.folders import folder_of, list_of, loading
from kdfeatures.models.heads import class_rows, draw_outputs, select_outputs
from kdfeatures.runtime.quantized import packed_parameters
from kdfeatures.runtime.quiet import errors_alone
from kdfeatures.tasks.registry import TaskType, task_type
from kdfeatures.tasks.task import Task

logger = logging.getLogger(__name__)

WEIGHTS = ("*.safetensors", "*.bin")
HEADS = 10**8  # weights of outputs that a checkpoint may lack: those of a masked language model, of many classes
# tables that older versions of transformers kept among the weights
INDEX_BUFFERS = ("position_ids", "token_type_ids", "inv_freq", "masked_bias")


def load_trained(path: str, option: str, kind: TaskType, *, force: bool) -> PreTrainedModel:
    """Load a model with the head for this kind of task that it was trained with.

    Raises UserError when the checkpoint has no such head (its weights would be random), unless `force`.
    """
    model, missing = _load(path, option, kind, {})
    missing = _of_encoder(model, missing) if model.base_model is model else missing
    if missing and not force:
        raise UserError(f"{option}={path} {kind.untrained}: its checkpoint lacks {list_of(missing)}. {kind.remedy}")
    if missing:
        logger.warning(f"{option}={path}: its checkpoint lacks {list_of(missing)}, drawn at random as it was forced.")
    return model


def load_scored(
    path: str, option: str, task: Task, *, force: bool, force_option: str | None
) -> tuple[PreTrainedModel, list[int] | None]:
    """Load a trained model, to the GPU if there is one; return it and its columns in the order of the task's labels.

    columns: None where the task has no labels. force_option: how errors name `force`, see align_labels.
    """
    model, kind = load_trained(path, option, task_type(task), force=force), task_type(task)
    if task.outputs == "vector":
        give_vectors(model, read_pooling(path, option))
    move(model)
    whose = f"the model {path}"
    return model, kind.columns(model.config, task, whose=whose, force=force, option=force_option)


def move(model: nn.Module, device: str | torch.device | None = None) -> None:
    """Move a model, in place; by default to the GPU if there is one. (`to` of transformers' models has no types.)"""
    model.to(("cuda" if torch.cuda.is_available() else "cpu") if device is None else device)


def load_for_task(path: str, option: str, task: Task) -> PreTrainedModel:
    """Load a pretrained encoder and give it the task's labels; a head that does not fit is drawn anew.

    The rows of a head for these classes are moved by the classes' names. Raises UserError when the checkpoint lacks a
    part of the encoder, which would then be random.
    """
    settings = label_settings(task)
    names = load_config(path, option).id2label or {}
    rows = class_rows(names, task.labels, f"{option}={path}") if task.labels else None
    moved = rows is not None and rows != list(range(len(names)))
    model, missing = _load(path, option, task_type(task), {} if moved else settings, redraws=True)
    if moved:
        assert rows is not None
        select_outputs(model, rows, len(names))
        for name, value in settings.items():
            setattr(model.config, name, value)
        model.__dict__["num_labels"] = task.num_labels
    elif task.labels and rows is None and len(names) == task.num_labels:
        draw_outputs(model, task.num_labels)  # of other classes, though as many
    encoder = _of_encoder(model, missing)
    if encoder:
        raise UserError(
            f"{option}={path} is not the {model.config.model_type} encoder that its config.json describes: its "
            f"checkpoint lacks {list_of(encoder)}."
        )
    return model


def load_masked_model(path: str, option: str) -> PreTrainedModel:
    """Load a masked language model with the head it was trained with; raises UserError when the checkpoint has none."""
    model, info = _pretrained(AutoModelForMaskedLM, path, option, "masked language model", {})
    missing = sorted(info["missing_keys"])
    if missing:
        raise UserError(f"{option}={path} has no masked-language-model head: its checkpoint lacks {list_of(missing)}.")
    return model.eval()


def label_settings(task: Task) -> dict:
    """The config fields that tell a model the task's labels."""
    problem = task_type(task).problem_type(task)
    if task.kind == "question":
        return {"num_labels": task.num_labels}  # start and end
    if not task.has_labels or task.kind == "embedding":
        return {}
    if not task.labels:
        # transformers' own name for the one output; without it configs with more labels warn that these do not fit
        label_names = {"id2label": {0: "LABEL_0"}, "label2id": {"LABEL_0": 0}}
        settings = {"num_labels": 1, "problem_type": problem, **label_names}
        return settings | ({"sentence_transformers": _activation(task)} if task.kind == "relevance" else {})
    settings = {
        "num_labels": task.num_labels,
        "id2label": dict(enumerate(task.labels)),
        "label2id": {name: i for i, name in enumerate(task.labels)},
    }
    return settings | ({} if problem is None else {"problem_type": problem})


def _activation(task: Task) -> dict[str, str]:
    """Return what a CrossEncoder of sentence-transformers makes of the one output: a probability, or nothing else."""
    name = "activation.Sigmoid" if task.outputs == "labels" else "linear.Identity"
    return {"activation_fn": f"torch.nn.modules.{name}"}


def parameter_count(model: PreTrainedModel) -> int:
    """All parameters, embeddings included, each counted once."""
    return sum(parameter.numel() for parameter in model.parameters()) + packed_parameters(model)


def _load(
    path: str, option: str, kind: TaskType, settings: dict, *, redraws: bool = False
) -> tuple[PreTrainedModel, list[str]]:
    """redraws: whether a head for other labels is drawn anew."""
    model, info = _pretrained(kind.auto, path, option, "model", settings)
    head = {name for name, _ in model.named_parameters() if not name.startswith(f"{model.base_model_prefix}.")}
    for name, saved, expected in sorted(info["mismatched_keys"]):
        # anything but a head would silently become random
        if name not in head or not redraws:
            raise UserError(
                f"{option}={path} contradicts itself: {name} is {tuple(saved)} in its checkpoint, but its config.json "
                f"asks for {tuple(expected)}."
            )
    return model, sorted(info["missing_keys"])


def _pretrained(auto: Any, path: str, option: str, what: str, settings: dict) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Return a model in float32 and what transformers says of its weights; settings: of its config, to be changed.

    Raises UserError for what cannot be loaded, and for weights of the encoder that the model does not take.
    """
    config = load_config(path, option)
    for name, value in settings.items():
        setattr(config, name, value)
    folder = folder_of(path, option, "model")
    _check_size(auto, config, folder, path, option)
    # without its table of missing weights: a head may be new, and all else is said here
    with loading(option, path, what), errors_alone("transformers"):
        model, info = auto.from_pretrained(
            str(folder),
            config=config,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            trust_remote_code=False,
        )
    model.name_or_path = model.config._name_or_path = path  # and not where the cache keeps it
    broken = sorted(name for name, parameter in model.named_parameters() if not parameter.isfinite().all())
    if broken:
        raise UserError(
            f"{option}={path} holds weights that are not finite: {list_of(broken)}; its training had diverged, or the "
            "file is damaged. Give another model."
        )
    unused = _unused(model, info["unexpected_keys"])
    if unused:
        raise UserError(
            f"{option}={path} is not the {config.model_type} encoder that its config.json describes: its checkpoint "
            f"also has {list_of(unused)}, which the model does not take (more layers than in its config, or a kind of "
            "attention that transformers no longer knows), so it would not answer as it was trained to."
        )
    return model, info


def _check_size(auto: Any, config: PreTrainedConfig, folder: Path, path: str, option: str) -> None:
    """Raise UserError for a config that asks for more weights than the files of its folder can hold.

    Loading would first make room for them, which may be more than the machine has.
    """
    held = sum(file.stat().st_size for pattern in WEIGHTS for file in folder.glob(pattern))  # a byte each at least
    if not held:  # which transformers says in its words
        return
    with loading(option, path, "model"), torch.device("meta"):
        asked = sum(parameter.numel() for parameter in auto.from_config(config, trust_remote_code=False).parameters())
    if asked > held + HEADS:
        raise UserError(
            f"{option}={path} contradicts itself: its config.json asks for {asked:,} weights, but the files of its "
            f"checkpoint hold {held:,} bytes."
        )


def _unused(model: PreTrainedModel, names: Iterable[str]) -> list[str]:
    """Those of the unused weights `names` that belong to the encoder: no other head, no pooler, no table of indices."""
    parts = {name for name, _ in model.base_model.named_children()} - {"pooler"}
    prefix = f"{model.base_model_prefix}."
    of_encoder = [name for name in names if name.removeprefix(prefix).split(".")[0] in parts]
    return sorted(name for name in of_encoder if not name.endswith(INDEX_BUFFERS))


def _of_encoder(model: PreTrainedModel, names: list[str]) -> list[str]:
    """Those of the parameters `names` that the encoder cannot do without."""
    prefix = "" if model.base_model is model else f"{model.base_model_prefix}."
    return [name for name in names if name.startswith(prefix) and not name.removeprefix(prefix).startswith("pooler.")]
