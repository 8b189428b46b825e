"""Frozen projections along the leading principal directions of the teacher's hidden states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from kdfeatures.alignment.projections import check_narrowing
from kdfeatures.errors import ConfigError
from kdfeatures.mapping.pairs import LayerPair


class PcaProjections(nn.Module):
    """(h_t - mean) P in student dimensions, P (D_t, D_s) the leading principal directions of each teacher layer.

    Unlike OrthonormalProjections it keeps the largest possible share of the variance; `fit` must see teacher hidden
    states once before training. examples: how many training examples `fit` is given.
    forward: student (B, L, D_s), teacher (B, L, D_t) -> both (B, L, D_s).
    """

    def __init__(
        self, pairs: Sequence[LayerPair], student_width: int, teacher_width: int, *, examples: int = 256
    ) -> None:
        super().__init__()
        check_narrowing(student_width, teacher_width, "pca")
        if examples < 1:
            raise ConfigError("must be at least 1", argument="examples", value=examples)
        self.examples = examples
        self.layers = tuple(sorted({pair.teacher for pair in pairs}))
        for layer in self.layers:
            self.register_buffer(f"basis_{layer}", torch.full((teacher_width, student_width), torch.nan))
            self.register_buffer(f"mean_{layer}", torch.full((teacher_width,), torch.nan))

    @torch.no_grad()
    def fit(self, hidden: Mapping[int, Tensor]) -> dict[int, float]:
        """Take real-token hidden states (tokens, D_t) per teacher layer; return the share of variance kept."""
        shares = {}
        for layer in self.layers:
            states = hidden[layer].double()
            basis: Tensor = self.get_buffer(f"basis_{layer}")
            if len(states) <= basis.shape[1]:
                raise ConfigError(
                    f"PCA projections need more than {basis.shape[1]} tokens to find as many directions, but "
                    f"{self.examples} examples gave {len(states)}",
                    hint="raise examples",
                    key="projection.pca_tokens",
                    width=basis.shape[1],
                    examples=self.examples,
                    tokens=len(states),
                )
            mean = states.mean(0)
            centred = states - mean
            variance, directions = torch.linalg.eigh(centred.mT @ centred)
            basis.copy_(directions[:, -basis.shape[1] :].flip(1))
            self.get_buffer(f"mean_{layer}").copy_(mean)
            shares[layer] = (variance[-basis.shape[1] :].sum() / variance.sum()).item()
        return shares

    def forward(self, pair: LayerPair, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        mean, basis = self.get_buffer(f"mean_{pair.teacher}"), self.get_buffer(f"basis_{pair.teacher}")
        return student, (teacher - mean.to(teacher.dtype)) @ basis.to(teacher.dtype)
