"""Bring hidden states of two widths together, per mapped pair.

LinearProjections learns student -> teacher, as FitNets and TinyBERT do. A *learned* teacher -> student projection may
collapse (the loss is smallest when it maps everything to the same point), so the two classes that work in student
dimensions are frozen: OrthonormalProjections and PcaProjections.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from kdfeatures.errors import UserError
from kdfeatures.mapping.rules import LayerPair


class LinearProjections(nn.Module):
    """h_s W + b in teacher dimensions, TinyBERT eq. 8 (arXiv:1909.10351); identity when the widths agree.

    shared: one W for all pairs (TinyBERT's official code) instead of one each (its paper, and FitNets); the candidates
    of a moving map have one for each student layer.
    always: learn W even when the widths agree.
    forward: student (B, L, D_s), teacher (B, L, D_t) -> both (B, L, D_t).
    """

    def __init__(
        self,
        pairs: Sequence[LayerPair],
        student_width: int,
        teacher_width: int,
        *,
        shared: bool,
        bias: bool,
        always: bool,
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

    def __init__(self, pairs: Sequence[LayerPair], student_width: int, teacher_width: int, *, seed: int) -> None:
        super().__init__()
        _narrowing(student_width, teacher_width, "orthonormal")
        generator = torch.Generator().manual_seed(seed)
        random = torch.randn(teacher_width, student_width, generator=generator, dtype=torch.float64)
        self.register_buffer("basis", torch.linalg.qr(random).Q.float().contiguous())

    def forward(self, pair: LayerPair, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        return student, teacher @ self.basis.to(teacher.dtype)


class PcaProjections(nn.Module):
    """(h_t - mean) P in student dimensions, P (D_t, D_s) the leading principal directions of each teacher layer.

    Unlike OrthonormalProjections it keeps the largest possible share of the variance; `fit` must see teacher hidden
    states once before training. examples: how many training examples `fit` is given.
    forward: student (B, L, D_s), teacher (B, L, D_t) -> both (B, L, D_s).
    """

    def __init__(self, pairs: Sequence[LayerPair], student_width: int, teacher_width: int, *, examples: int) -> None:
        super().__init__()
        _narrowing(student_width, teacher_width, "pca")
        if examples < 1:
            raise UserError(f"projection.examples={examples} must be at least 1.")
        self.examples = examples
        self.layers = tuple(sorted({pair.teacher for pair in pairs}))
        for layer in self.layers:
            self.register_buffer(f"basis_{layer}", torch.full((teacher_width, student_width), torch.nan))
            self.register_buffer(f"mean_{layer}", torch.full((teacher_width,), torch.nan))

    @torch.no_grad()
    def fit(self, hidden: Mapping[int, Tensor]) -> dict[int, float]:
        """Take real-token hidden states (tokens, D_t) per teacher layer; return the share of variance kept."""
        kept = {}
        for layer in self.layers:
            states = hidden[layer].double()
            basis: Tensor = self.get_buffer(f"basis_{layer}")
            if len(states) <= basis.shape[1]:
                raise UserError(
                    f"projection=pca needs more than {basis.shape[1]} tokens to find as many directions, but "
                    f"{self.examples} examples gave {len(states)}; raise projection.examples."
                )
            mean = states.mean(0)
            centred = states - mean
            variance, directions = torch.linalg.eigh(centred.mT @ centred)
            basis.copy_(directions[:, -basis.shape[1] :].flip(1))
            self.get_buffer(f"mean_{layer}").copy_(mean)
            kept[layer] = (variance[-basis.shape[1] :].sum() / variance.sum()).item()
        return kept

    def forward(self, pair: LayerPair, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        mean, basis = self.get_buffer(f"mean_{pair.teacher}"), self.get_buffer(f"basis_{pair.teacher}")
        return student, (teacher - mean.to(teacher.dtype)) @ basis.to(teacher.dtype)


class ProjectionsByTeacher(nn.Module):
    """The projections for each of several teachers, with pairs and a width of their own."""

    def __init__(self, projections: Mapping[str, nn.Module]) -> None:
        super().__init__()
        # nn.ModuleDict takes no key that is one of its own attributes, such as "keys"
        self.by_teacher = nn.ModuleDict({f"teacher_{name}": module for name, module in projections.items()})


def projections_for(projections: nn.Module, teacher: str) -> nn.Module:
    """Return what brings the student's widths together with this teacher's; those of a single teacher are for any."""
    if isinstance(projections, ProjectionsByTeacher):
        return projections.by_teacher[f"teacher_{teacher}"]
    return projections


def _narrowing(student_width: int, teacher_width: int, name: str) -> None:
    if student_width > teacher_width:
        raise UserError(
            f"projection={name} maps the teacher into fewer dimensions, but the student is wider "
            f"({student_width} against {teacher_width}); use projection=linear."
        )
