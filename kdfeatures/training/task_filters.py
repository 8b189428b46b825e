"""The first stage of TED: filters behind the layers of a frozen model learn the task that its student is for."""

from __future__ import annotations

import math

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
    seed: int,
) -> dict[str, float]:
    """Fit, in place, the filters to labelled encoded examples, as each of student and teacher reads them.

    Returns the mean loss over layers in the last tenth of the steps, by "student" and "teacher". Filters that are
    fitted already, by an earlier stage, are left as they are, which returns nothing.
    """
    if projections.fitted:
        return {}
    learned, losses = {}, {}
    with torch.random.fork_rng():
        sides = (("student", student, projections.student), ("teacher", teacher, projections.teacher))
        for (name, model, filters), of_model, tokenizer in zip(sides, examples, tokenizers, strict=True):
            torch.manual_seed(seed)
            learned[name], losses[name] = _learn(projections, filters, model, of_model, tokenizer)
    projections.fit(learned["student"], learned["teacher"])
    return losses


def _learn(
    projections: TaskAwareProjections,
    filters_of: nn.ModuleDict,
    model: PreTrainedModel,
    examples: Dataset,
    tokenizer: PreTrainedTokenizerBase,
) -> tuple[dict[int, nn.Linear], float]:
    layers, given = [int(layer) for layer in filters_of], list(filters_of.values())
    device, filtered_width = model.device, given[0].out_features
    filters = nn.ModuleList([nn.Linear(linear.in_features, filtered_width) for linear in given]).to(device)
    heads = nn.ModuleList([nn.Linear(filtered_width, model.config.num_labels) for _ in layers]).to(device)
    steps_an_epoch = math.ceil(len(examples) / projections.batch_size)
    steps = steps_an_epoch * projections.epochs
    optimizer = torch.optim.AdamW([*filters.parameters(), *heads.parameters()], lr=projections.learning_rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)
    columns = [name for name in examples.column_names if name in (*tokenizer.model_input_names, "labels")]
    examples, collate, loss_of = examples.select_columns(columns), DataCollatorWithPadding(tokenizer), HardLabel()
    losses = []
    was_training = model.training
    model.eval()
    with capture(model, hidden=layers) as features, torch.enable_grad():
        for _ in range(projections.epochs):
            for rows in torch.randperm(len(examples)).split(projections.batch_size):
                batch = to_device(collate([examples[int(row)] for row in rows]), model)
                labels = batch.pop("labels")
                with torch.no_grad():
                    model(**batch)
                each = [
                    loss_of(head(of_layer(features.hidden[layer][:, 0].float())), labels)
                    for layer, of_layer, head in zip(layers, filters, heads, strict=True)
                ]
                loss = torch.stack(each).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                losses.append(loss.detach())
    model.train(was_training)
    last = torch.stack(losses[-max(1, steps // 10) :]).mean().item()
    return dict(zip(layers, filters, strict=True)), last
