"""Bring hidden states of two widths together, per mapped pair.

LinearProjections learns student -> teacher, as FitNets and TinyBERT do. A *learned* teacher -> student projection may
collapse (the loss is smallest when it maps everything to the same point), so the two classes that work in student
dimensions are frozen: OrthonormalProjections and PcaProjections.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdfeatures.errors import ConfigError
from kdfeatures.mapping.pairs import LayerPair


class LinearProjections(nn.Module):
    """h_s W + b in teacher dimensions, TinyBERT eq. 8 (arXiv:1909.10351); identity when the widths agree.

    shared: one W for all pairs (TinyBERT's official code) instead of one each (its paper, and FitNets); the candidates
    of a dynamic map have one for each student layer.
    always: learn W even when the widths agree.
    forward: student (B, L, D_s), teacher (B, L, D_t) -> both (B, L, D_t).
    """

    def __init__(
        self,
        pairs: Sequence[LayerPair],
        student_width: int,
        teacher_width: int,
        *,
        shared: bool = False,
        bias: bool = True,
        always: bool = False,
    ) -> None:
        super().__init__()
        self.shared = shared
        self.linear = nn.ModuleDict()
        if student_width != teacher_width or always:
            for key in dict.fromkeys(self._key(pair) for pair in pairs):
                self.linear[key] = nn.Linear(student_width, teacher_width, bias=bias)

    def _key(self, pair: LayerPair) -> str:
        return "shared" if self.shared else pair.projection

    def of(self, pair: LayerPair) -> nn.Module:
        """Return the map of a pair; nn.Identity where the widths agree."""
        return self.linear[self._key(pair)] if self.linear else nn.Identity()

    def forward(self, pair: LayerPair, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        return self.of(pair)(student), teacher


class OrthonormalProjections(nn.Module):
    """h_t Q in student dimensions with frozen random Q (D_t, D_s), Q'Q = I; one Q for all pairs.

    Distances survive on average (Johnson-Lindenstrauss up to the factor sqrt(D_s / D_t)); nothing is learned.
    forward: student (B, L, D_s), teacher (B, L, D_t) -> both (B, L, D_s).
    """

    basis: Tensor  # Q

    def __init__(self, pairs: Sequence[LayerPair], student_width: int, teacher_width: int, *, seed: int = 0) -> None:
        super().__init__()
        check_narrowing(student_width, teacher_width, "orthonormal")
        generator = torch.Generator().manual_seed(seed)
        random = torch.randn(teacher_width, student_width, generator=generator, dtype=torch.float64)
        self.register_buffer("basis", torch.linalg.qr(random).Q.float().contiguous())

    def forward(self, pair: LayerPair, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        return student, teacher @ self.basis.to(teacher.dtype)


class NoProjections(nn.Module):
    """Stands for projections where no hidden states are projected: both stay as they are."""

    def forward(self, pair: LayerPair, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        return student, teacher


def check_narrowing(student_width: int, teacher_width: int, name: str) -> None:
    """Raise ConfigError for a student that is wider than its teacher."""
    if student_width > teacher_width:
        raise ConfigError(
            f"{name} projections map the teacher into fewer dimensions, but the student is wider ({student_width} "
            f"against {teacher_width})",
            hint="use linear ones",
            key="projection.narrowing",
            name=name,
            student_width=student_width,
            teacher_width=teacher_width,
        )
