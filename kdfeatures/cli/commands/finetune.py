"""kdfeatures finetune: train a classifier on labels, as a teacher or as a hard-label student."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf
from transformers import AutoModelForSequenceClassification, BertConfig, PreTrainedModel, set_seed

from kdfeatures.config.schema import DataConfig, ModelConfig, section
from kdfeatures.config.training import training_arguments
from kdfeatures.data.subsets import is_labelled
from kdfeatures.data.synthetic import tokenizer as embedded_tokenizer
from kdfeatures.errors import UserError
from kdfeatures.models.load import label_settings, load_for_task, load_tokenizer
from kdfeatures.models.max_length import check_positions
from kdfeatures.pipelines.inputs import counts_of, joined, load_inputs, logits_of, scores_of
from kdfeatures.pipelines.outputs import of_training, results_of, save_run
from kdfeatures.runs.folder import finished_results, open_output
from kdfeatures.runs.results import describe_model
from kdfeatures.runs.upload import pushed
from kdfeatures.tasks.task import Task
from kdfeatures.training.build import make_trainer, train
from kdfeatures.training.distributed import is_first
from kdfeatures.training.fsdp import whole

EMBEDDED_LENGTH = 64  # tokens; generated examples are shorter


@pushed
def run(cfg: DictConfig, output_dir: Path) -> dict[str, Any] | None:
    """Fine-tune `model` on the labelled examples of `task`; the folder is then a teacher for `distill`."""
    return finetune(
        cfg, output_dir, model=section(cfg, "model", ModelConfig), trainer=cfg.trainer, existing=cfg.existing
    )


def finetune(
    cfg: DictConfig, output_dir: Path, *, model: ModelConfig, trainer: DictConfig, existing: str
) -> dict[str, Any] | None:
    """The same with the model and trainer settings named: `distill` trains its own teacher of a generated task."""
    start = time.monotonic()
    task, data = Task.from_config(OmegaConf.to_container(cfg.task)), section(cfg, "data", DataConfig)
    if data.streaming:
        raise UserError("kdfeatures finetune reads no stream; set data.streaming=false.")
    if data.pool is not None:
        raise UserError(f"data.pool={data.pool} has no labels, so finetune cannot learn from it; leave it out.")
    set_seed(cfg.seed)
    checkpoint = open_output(output_dir, existing)
    done = finished_results(output_dir, OmegaConf.merge(cfg, {"existing": existing}))
    if done is not None:
        return done
    classifier, tokenizer = _start(model, task)
    inputs = load_inputs(task, data, tokenizer)
    reported = inputs.reported(cfg.split)
    examples = joined(inputs.train(data, cfg.seed))
    if task.has_labels:
        examples = examples.select(np.flatnonzero(is_labelled(examples)))
    check_positions(classifier, f"model.path={model.path}", [examples, *reported.values()])
    arguments = training_arguments(trainer, output_dir, task, seed=cfg.seed, find_unused_parameters=False)
    made = make_trainer(classifier, arguments, trainer, task, tokenizer, examples, inputs.validation())
    seconds = train(made, checkpoint)
    if not is_first():
        return None
    classifier = whole(classifier, made, task)
    logits = logits_of(
        task,
        classifier,
        reported,
        tokenizer,
        None,
        batch_size=arguments.per_device_eval_batch_size,
        title="model",
    )
    results = results_of(
        "finetune",
        cfg,
        task,
        start,
        student=describe_model(str(output_dir), classifier, scores_of(logits, reported, task)),
        train_examples=len(examples),
        labelled_examples=len(examples) if task.has_labels else 0,
        examples=counts_of(reported),
        **of_training(made, seconds),
    )
    save_run(output_dir, results, task, logits, reported)
    return results


def _start(model: ModelConfig, task: Task) -> tuple[PreTrainedModel, Any]:
    if model.path is not None:
        return load_for_task(model.path, "model.path", task), load_tokenizer(model.path, "model.path")
    if task.embedded is None:
        raise UserError(
            f"task={task.name} needs a pretrained encoder: give model.path=FOLDER_OR_HUB_ID (only generated tasks "
            "start from nothing)."
        )
    tokenizer = embedded_tokenizer()
    return AutoModelForSequenceClassification.from_config(embedded_config(model, task)), tokenizer


def embedded_config(model: ModelConfig, task: Task) -> BertConfig:
    """Return the config of a random encoder for a generated task; raises UserError for sizes that do not fit."""
    for name in ("layers", "hidden_size", "heads", "intermediate_size"):
        if getattr(model, name) < 1:
            raise UserError(f"model.{name}={getattr(model, name)} must be at least 1.")
    if model.hidden_size % model.heads:
        raise UserError(
            f"model.hidden_size={model.hidden_size} is not a multiple of model.heads={model.heads}; choose model.heads "
            "so that it divides the width."
        )
    tokenizer = embedded_tokenizer()
    return BertConfig(
        vocab_size=len(tokenizer),
        num_hidden_layers=model.layers,
        hidden_size=model.hidden_size,
        num_attention_heads=model.heads,
        intermediate_size=model.intermediate_size,
        hidden_dropout_prob=model.dropout,
        attention_probs_dropout_prob=model.dropout,
        initializer_range=model.initializer_range,
        max_position_embeddings=EMBEDDED_LENGTH,
        pad_token_id=tokenizer.pad_token_id,
        **label_settings(task),
    )
