"""Measure how similar the layers of teacher and student are, and choose the maps that follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from accelerate.utils import broadcast_object_list
from datasets import Dataset
from torch import Tensor
from transformers import DataCollatorWithPadding, PreTrainedModel, PreTrainedTokenizerBase

from kdfeatures.capture import capture
from kdfeatures.errors import UserError
from kdfeatures.heads.hsic import unbiased_hsic
from kdfeatures.map_log import saved_maps
from kdfeatures.maps import CkaMap
from kdfeatures.objective import Objective

BATCH = 32


def fit_maps(
    objective: Objective,
    student: PreTrainedModel,
    teachers: Mapping[str, PreTrainedModel | None],
    examples: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
    checkpoint: Path | None,
) -> None:
    """Fit, in place, the objective's CkaMaps, and leave in their terms the pairs that they chose.

    examples: encoded training examples, of which `seed` chooses those to measure. checkpoint: of the run that goes
    on, whose maps are taken instead. All processes take what the first has found. Raises UserError for a checkpoint of
    other maps, and where a similarity is not finite.
    """
    found: dict[tuple[str, int], Tensor] = {}
    for name, fitted in objective.maps.items():
        if not isinstance(fitted, CkaMap):
            continue
        if checkpoint is not None:
            similarity = saved_maps(checkpoint, objective.moving)[f"of_{name}.similarity"]
        else:
            key = objective.terms[name].teacher, fitted.examples
            if key not in found:
                chosen = _chosen(examples, fitted.examples, tokenizer, seed)
                found[key] = layer_similarity(student, teachers[key[0]], chosen, tokenizer)
            similarity = found[key]
        fitted.fit(broadcast_object_list([similarity])[0])
        term = objective.terms[name]
        objective.terms[name] = replace(term, pairs=term.compared)


@torch.no_grad()
def layer_similarity(
    student: PreTrainedModel, teacher: PreTrainedModel, examples: Dataset, tokenizer: PreTrainedTokenizerBase
) -> Tensor:
    """Return the debiased linear CKA of the hidden states of all layers from 1, (M, N) in float64, at most 1.

        CKA(m, i) = HSIC(H_m, G_i) / sqrt(HSIC(H_m, H_m) HSIC(G_i, G_i))

    H_m, G_i: hidden states (tokens, D) of a batch's real tokens; HSIC: the unbiased estimate (kdfeatures.heads.hsic),
    averaged over batches before the ratio is taken (arXiv:2010.15327). Widths may differ; a rotation or a common factor
    changes nothing. Unlike HeadSimilarity("cka") it compares layers, not heads. Both models run in eval mode, on the
    teacher's device, and keep their modes. Raises UserError where the similarity is not finite.
    """
    models = {"student": student.to(teacher.device), "teacher": teacher}
    layers = {side: range(1, model.config.num_hidden_layers + 1) for side, model in models.items()}
    training, collate = student.training, DataCollatorWithPadding(tokenizer)
    sums: list[Tensor] = []
    student.eval()
    try:
        for start in range(0, len(examples), BATCH):
            batch = collate([examples[i] for i in range(start, min(start + BATCH, len(examples)))]).to(teacher.device)
            real = batch["attention_mask"].bool()
            found = {}
            for side, model in models.items():
                with capture(model, hidden=layers[side]) as features:
                    model(**batch)
                found[side] = [features.hidden[n][real].double() for n in layers[side]]
            of_student, of_teacher = found["student"], found["teacher"]
            both = torch.stack([torch.stack([unbiased_hsic(x, y) for y in of_teacher]) for x in of_student])
            own = [torch.stack([unbiased_hsic(x, x) for x in states]) for states in (of_student, of_teacher)]
            sums = [both, *own] if not sums else [a + b for a, b in zip(sums, [both, *own], strict=True)]
    finally:
        student.train(training)
    both, of_student, of_teacher = sums
    similarity = (both / (of_student[:, None] * of_teacher).sqrt()).cpu()
    if not similarity.isfinite().all():
        raise UserError(
            "mapping=cka found hidden states without any variance, or not finite, so that layers cannot be compared; "
            "check both models, or use mapping=uniform."
        )
    return similarity


def _chosen(examples: Dataset, count: int, tokenizer: PreTrainedTokenizerBase, seed: int) -> Dataset:
    columns = [name for name in examples.column_names if name in tokenizer.model_input_names]
    return examples.select_columns(columns).select(np.random.default_rng(seed).permutation(len(examples))[:count])
