"""Which layer of one model is like which layer of another, measured on text: debiased linear CKA of hidden states."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kdfeatures.analysis.batches import PairBatch, batches_of, pair_of
from kdfeatures.analysis.hsic import kernels_of, unbiased_hsics
from kdfeatures.capture.context import eval_pass
from kdfeatures.capture.families import encoder_of
from kdfeatures.errors import UserError
from kdfeatures.models.batches import Batch, to_device


class LayerComparison(NamedTuple):
    """CKA of all layers of a student with all of a teacher; row 0 and column 0 are the embeddings.

    similarity   (M + 1, N + 1), float64; 1 is equal up to rotation, scale and shift, 0 is unrelated; the estimate may
                 be slightly negative
    null         the same when the teacher reads another text of the batch at each place: what positions and special
                 tokens alone have in common
    """

    similarity: Tensor
    null: Tensor

    def plot(self, path: str | Path = "layers.png") -> Path:
        """Draw both matrices side by side, save them as PNG, and return the file's path."""
        from kdfeatures.analysis.heatmaps import Panel, heat_maps

        panels = [
            Panel("same text", self.similarity.numpy(), ()),
            Panel("other text, same positions", self.null.numpy(), ()),
        ]
        heat_maps(panels, Path(path), rows="student layer", columns="teacher layer", start=0, limits=(0, 1))
        return Path(path)


@torch.no_grad()
def compare_layers(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    texts: Iterable[Batch | PairBatch] | Sequence[str],
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    teacher_tokenizer: PreTrainedTokenizerBase | None = None,
    batch_size: int = 8,
) -> LayerComparison:
    """Return debiased linear CKA between the hidden states of all layers, HSIC(S, T) / sqrt(HSIC(S, S) HSIC(T, T)).

        comparison = compare_layers(student, teacher, texts, tokenizer)
        comparison.similarity[3, 6]     # student layer 3, teacher layer 6
        comparison.plot("layers.png")

    HSIC is the unbiased estimator (Song et al. 2012) with the real tokens of a batch as samples, averaged over the
    batches before the ratio is taken (arXiv:2010.15327), in eval mode. Unlike the loss kdfeatures.losses.LinearCKA it
    is near 0 for unrelated states also where a batch has fewer tokens than the states have dimensions. Widths and
    depths may differ. Takes 8 (M + N + 2) n^2 bytes for batches of n tokens.

    Args:
        student, teacher: encoders.
        texts: strings, of which `batch_size` are compared at a time; or, without a tokenizer, batches that fit both
            models (kdfeatures.analysis.batches), of two texts or more; a PairBatch has an encoding for each.
        tokenizer: of both models, or of the student.
        teacher_tokenizer: where the teacher has another one; the samples are then the groups of tokens that cover the
            same characters (kdfeatures.alignment.tokens).
        batch_size: texts whose tokens are compared with each other.

    Raises:
        UserError: without any text, for a batch of fewer than 4 tokens, and for a model whose length shrinks from layer
            to layer (Funnel).

    >>> from transformers import BertConfig, BertModel
    >>> from kdfeatures.data.synthetic import tokenizer
    >>> sizes = {"vocab_size": 80, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16}
    >>> student, teacher = (BertModel(BertConfig(num_hidden_layers=n, **sizes)) for n in (2, 4))
    >>> texts = ["the dog slept", "a cat that slept ran", "dogs ran", "the cat saw a dog"]
    >>> compare_layers(student, teacher, texts, tokenizer()).similarity.shape  # embeddings and layers of both
    torch.Size([3, 5])
    """
    batches = batches_of(texts, tokenizer, batch_size=batch_size, teacher_tokenizer=teacher_tokenizer)
    depth_s, depth_t = (len(encoder_of(model).layers) for model in (student, teacher))
    layers_s, layers_t = range(depth_s + 1), range(depth_t + 1)
    same, null = _Ratio(), _Ratio()
    with eval_pass(student, hidden=layers_s) as see_student, eval_pass(teacher, hidden=layers_t) as see_teacher:
        for batch in batches:
            pair = pair_of(batch)
            real = pair.real.cpu()
            if len(real) < 2:
                raise UserError("a batch of one text cannot be shuffled; give two or more.")
            features_s = see_student(to_device(pair.student, student))
            features_t = see_teacher(to_device(pair.teacher, teacher))
            states_s = [pair.hidden(_checked(features_s.hidden[n], pair.student), "student") for n in layers_s]
            states_t = [pair.hidden(_checked(features_t.hidden[n], pair.teacher), "teacher") for n in layers_t]
            same.add([states[real] for states in states_s], [states[real] for states in states_t])
            mask = real & real.roll(1, 0)
            null.add([states[mask] for states in states_s], [states.roll(1, 0)[mask] for states in states_t])
    return LayerComparison(same.value(), null.value())


class _Ratio:
    """Sums of HSIC over batches, whose ratio is the CKA."""

    def __init__(self) -> None:
        self.sums: tuple[Tensor, Tensor, Tensor] | None = None

    def add(self, student: list[Tensor], teacher: list[Tensor]) -> None:
        """Add a batch: for every layer its states at the same tokens, (n, D)."""
        of_student, of_teacher = kernels_of(student), kernels_of(teacher)
        cross = unbiased_hsics(of_student, of_teacher)
        norms_s = unbiased_hsics(of_student, of_student).diagonal()
        norms_t = unbiased_hsics(of_teacher, of_teacher).diagonal()
        if self.sums is not None:
            cross, norms_s, norms_t = self.sums[0] + cross, self.sums[1] + norms_s, self.sums[2] + norms_t
        self.sums = cross, norms_s, norms_t

    def value(self) -> Tensor:
        if self.sums is None:
            raise UserError("no batch was given, so there is no similarity; give at least one.")
        cross, norms_s, norms_t = self.sums
        return cross / (norms_s[:, None] * norms_t[None]).clamp(min=torch.finfo(cross.dtype).tiny).sqrt()


def _checked(states: Tensor, batch: Batch) -> Tensor:
    length = batch["input_ids"].shape[1]
    if states.shape[1] != length:
        raise UserError(
            f"a layer has {states.shape[1]} states for {length} tokens (Funnel pools them), so layers cannot be "
            "compared token by token; choose a model that keeps its length."
        )
    return states.cpu()
