"""Which layer of one model is like which layer of another, measured on text: debiased linear CKA of hidden states."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from kdfeatures.analysis.batches import Batch, real_of, to_device
from kdfeatures.analysis.hsic import kernels_of, unbiased_hsics
from kdfeatures.capture.context import measured
from kdfeatures.capture.families import encoder_of
from kdfeatures.errors import UserError


class LayerComparison(NamedTuple):
    """CKA of all layers of a student with all of a teacher; row 0 and column 0 are the embeddings.

    similarity   (M + 1, N + 1), float64; 1 is equal up to rotation, scale and shift, 0 is unrelated; the estimate may
                 be slightly negative
    null         the same when the teacher reads another text of the batch at each place: what positions and special
                 tokens alone have in common
    """

    similarity: Tensor
    null: Tensor


@torch.no_grad()
def compare_layers(student: PreTrainedModel, teacher: PreTrainedModel, batches: Iterable[Batch]) -> LayerComparison:
    """Return debiased linear CKA between the hidden states of all layers, HSIC(S, T) / sqrt(HSIC(S, S) HSIC(T, T)).

        found = compare_layers(student, teacher, text_batches(texts, tokenizer, batch_size=8))
        found.similarity[3, 6]     # student layer 3, teacher layer 6

    HSIC is the unbiased estimator (Song et al. 2012) with the real tokens of a batch as samples, averaged over the
    batches before the ratio is taken (arXiv:2010.15327), in eval mode. Unlike the loss kdfeatures.losses.LinearCKA it
    is near 0 for unrelated states also where a batch has fewer tokens than the states have dimensions. Widths and
    depths may differ. Takes 8 (M + N + 2) n^2 bytes for batches of n tokens.
    batches: inputs that fit both models (kdfeatures.analysis.batches), of two texts or more. Raises UserError without
    any, for a batch of fewer than 4 tokens, and for a model whose length shrinks from layer to layer (Funnel).
    """
    depth_s, depth_t = (len(encoder_of(model).layers) for model in (student, teacher))
    layers_s, layers_t = range(depth_s + 1), range(depth_t + 1)
    same, null = _Ratio(), _Ratio()
    with measured(student, hidden=layers_s) as see_student, measured(teacher, hidden=layers_t) as see_teacher:
        for batch in batches:
            real = real_of(batch)
            if len(real) < 2:
                raise UserError("a batch of one text cannot be shuffled; give two or more.")
            found_s, found_t = see_student(to_device(batch, student)), see_teacher(to_device(batch, teacher))
            states_s = [_checked(found_s.hidden[n], real) for n in layers_s]
            states_t = [_checked(found_t.hidden[n], real) for n in layers_t]
            same.add([own[real] for own in states_s], [own[real] for own in states_t])
            both = real & real.roll(1, 0)
            null.add([own[both] for own in states_s], [own.roll(1, 0)[both] for own in states_t])
    return LayerComparison(same.value(), null.value())


class _Ratio:
    """Sums of HSIC over batches, whose ratio is the CKA."""

    def __init__(self) -> None:
        self.sums: tuple[Tensor, Tensor, Tensor] | None = None

    def add(self, student: list[Tensor], teacher: list[Tensor]) -> None:
        """Add a batch: for every layer its states at the same tokens, (n, D)."""
        own, other = kernels_of(student), kernels_of(teacher)
        found = unbiased_hsics(own, other), unbiased_hsics(own, own).diagonal(), unbiased_hsics(other, other).diagonal()
        self.sums = found if self.sums is None else tuple(a + b for a, b in zip(self.sums, found, strict=True))

    def value(self) -> Tensor:
        if self.sums is None:
            raise UserError("no batch was given, so there is no similarity; give at least one.")
        cross, own, other = self.sums
        return cross / (own[:, None] * other[None]).clamp(min=torch.finfo(cross.dtype).tiny).sqrt()


def _checked(states: Tensor, real: Tensor) -> Tensor:
    if states.shape[1] != real.shape[1]:
        raise UserError(
            f"a layer has {states.shape[1]} states for {real.shape[1]} tokens (Funnel pools them), so layers cannot be "
            "compared token by token; choose a model that keeps its length."
        )
    return states.cpu()
