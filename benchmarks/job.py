"""The distillation step that all variants are measured on: same weights, same batch, same pairs.

A 12 x 384 BERT teaches a 6 x 192 one (12 heads each): 7
pairs of hidden states through a learned linear map 192 -> 384, 6 pairs of attention scores, and the logits. Weights are
random, dropout is 0 so that gradients can be compared, and the batch has no padding, which peers treat differently.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, BertConfig, PreTrainedModel

from kdfeatures.alignment.projections import LinearProjections
from kdfeatures.mapping.pairs import LayerPair

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TEMPERATURE = 2.0
RELATION_HEADS = 12


class Variant(NamedTuple):
    """One way to compute the loss of a batch, and what it trains."""

    loss: Callable[[dict[str, Tensor]], Tensor]
    student: PreTrainedModel
    projections: Sequence[nn.Linear] = ()

    def parameters(self) -> list[nn.Parameter]:
        """Return all that is trained, in an order that is the same for all variants."""
        return [p for module in (self.student, *self.projections) for p in module.parameters()]


class DistillationSetup:
    """The models of one run. Variants train copies of the student; their teachers share one set of weights.

    Student layer m learns from teacher layer m N / M, 0 from 0.
    """

    def __init__(self, teacher: PreTrainedModel, student: PreTrainedModel) -> None:
        self._teacher = teacher.eval().requires_grad_(False)
        self._student = student.train()
        layers = student.config.num_hidden_layers
        self.hidden_pairs = tuple(
            LayerPair(m, m * teacher.config.num_hidden_layers // layers) for m in range(layers + 1)
        )
        self.attention_pairs = self.hidden_pairs[1:]
        self.widths = student.config.hidden_size, teacher.config.hidden_size
        self._projections = LinearProjections(self.hidden_pairs, *self.widths, shared=False, bias=True, always=True).to(
            DEVICE
        )

    def teacher(self, attention: str = "sdpa") -> PreTrainedModel:
        """Return the teacher as a module of its own, whose parameters are those of every other copy."""
        shared = copy.deepcopy(self._teacher, {id(p): p for p in self._teacher.parameters()})
        shared.set_attn_implementation(attention)
        return shared

    def student(self, attention: str = "sdpa") -> PreTrainedModel:
        """Return a copy of the student."""
        own = copy.deepcopy(self._student)
        own.set_attn_implementation(attention)
        return own

    def projections(self) -> LinearProjections:
        """Return a copy of the maps to the teacher's width."""
        return copy.deepcopy(self._projections)


def random_job() -> DistillationSetup:
    """Return the job described above."""
    torch.manual_seed(0)
    return DistillationSetup(random_classifier(layers=12, width=384), random_classifier(layers=6, width=192))


def random_classifier(*, layers: int, width: int, **more) -> PreTrainedModel:
    """Return a BERT with 12 heads, 2 classes and no dropout."""
    config = BertConfig(
        num_hidden_layers=layers,
        hidden_size=width,
        num_attention_heads=12,
        intermediate_size=4 * width,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        num_labels=2,
        **more,
    )
    return AutoModelForSequenceClassification.from_config(config).to(DEVICE)


def random_batch(batch: int, length: int) -> dict[str, Tensor]:
    """Return token ids, a mask of ones and labels."""
    generator = torch.Generator().manual_seed(1)
    made = {
        "input_ids": torch.randint(5, 30000, (batch, length), generator=generator),
        "attention_mask": torch.ones(batch, length, dtype=torch.long),
        "labels": torch.randint(0, 2, (batch,), generator=generator),
    }
    return {name: tensor.to(DEVICE) for name, tensor in made.items()}


def training_step(variant: Variant) -> Callable[[dict[str, Tensor]], None]:
    """Return a function that takes one whole training step on a batch: loss, gradients, AdamW; bf16 on a GPU."""
    optimizer = torch.optim.AdamW(variant.parameters(), lr=1e-5)

    def step(batch: dict[str, Tensor]) -> None:
        optimizer.zero_grad()
        with torch.autocast(DEVICE, dtype=torch.bfloat16, enabled=DEVICE == "cuda"):
            loss = variant.loss(batch)
        loss.backward()
        optimizer.step()

    return step


def gradient(variant: Variant, batch: dict[str, Tensor]) -> Tensor:
    """Return the gradient of the loss with respect to all that is trained, as one vector."""
    parameters = variant.parameters()
    found = torch.autograd.grad(variant.loss(batch), parameters, allow_unused=True)
    return torch.cat(
        [(torch.zeros_like(p) if g is None else g).flatten() for g, p in zip(found, parameters, strict=True)]
    )
