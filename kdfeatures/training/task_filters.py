"""The first stage of TED: filters behind the layers of a frozen model learn the task that its student is for."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from datasets import Dataset
from torch import nn
from transformers import DataCollatorWithPadding, PreTrainedModel, PreTrainedTokenizerBase

from kdfeatures.alignment.task_aware import TaskAwareProjections
from kdfeatures.capture.context import capture
from kdfeatures.losses import HardLabel
from kdfeatures.models.batches import to_device


def fit_task_filters(
    projections: TaskAwareProjections,
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    examples: tuple[Dataset, Dataset],
    tokenizers: tuple[PreTrainedTokenizerBase, PreTrainedTokenizerBase],
    outputs: int,
    seed: int,
) -> dict[str, float]:
    """Fit, in place, the filters to labelled encoded examples, as student and teacher read them.

    outputs: how many the task has. Returns the mean loss over layers in the last tenth of the steps, by "student" and
    "teacher". Filters that are fitted already, by an earlier stage, are left as they are, which returns nothing.
    """
    if projections.fitted:
        return {}
    learned, losses = [], {}
    models = {"student": student, "teacher": teacher}
    with torch.random.fork_rng():
        for (side, model), of_model, tokenizer in zip(models.items(), examples, tokenizers, strict=True):
            torch.manual_seed(seed)
            width, layers = projections.widths[side], projections.layers[side]
            filters = {layer: nn.Linear(width, projections.widths["teacher"]).to(model.device) for layer in layers}
            losses[side] = _learn(filters, model, of_model, tokenizer, outputs, projections)
            learned.append(filters)
    projections.fit(*learned)
    return losses


def _learn(
    filters: Mapping[int, nn.Linear],
    model: PreTrainedModel,
    examples: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    outputs: int,
    settings: TaskAwareProjections,
) -> float:
    """Train, in place, the filters of a frozen model, each with a head on its filtered [CLS]."""
    heads = {layer: nn.Linear(linear.out_features, outputs).to(model.device) for layer, linear in filters.items()}
    parameters = [
        parameter for part in (filters, heads) for linear in part.values() for parameter in linear.parameters()
    ]
    steps = math.ceil(len(examples) / settings.batch_size) * settings.epochs
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)
    columns = [name for name in examples.column_names if name in (*tokenizer.model_input_names, "labels")]
    examples, collate, loss_of = examples.select_columns(columns), DataCollatorWithPadding(tokenizer), HardLabel()
    losses = []
    was_training = model.training
    model.eval()
    with capture(model, hidden=sorted(filters)) as features:
        for _ in range(settings.epochs):
            for rows in torch.randperm(len(examples)).split(settings.batch_size):
                batch = to_device(collate([examples[int(row)] for row in rows]), model)
                labels = batch.pop("labels")
                with torch.no_grad():
                    model(**batch)
                first = {layer: features.hidden[layer][:, 0].float() for layer in filters}
                each = [loss_of(heads[layer](filters[layer](first[layer])), labels) for layer in filters]
                loss = torch.stack(each).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                losses.append(loss.detach())
    model.train(was_training)
    return torch.stack(losses[-max(1, steps // 10) :]).mean().item()
