"""What all maps have in common whose pairs, or the weights of pairs, are not fixed in the config."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from kdfeatures.errors import ConfigError
from kdfeatures.mapping.pairs import CandidatePair, LayerPair


class DynamicLayerMap(nn.Module):
    """Candidates for every student layer, and what a step makes of them. M student and N teacher layers.

    pairs: all that any step may compare, so that capture, projections and the feature cache are ready for them: every
    teacher layer for every student layer, and with `embeddings` also [0, 0], which never moves.
    All it keeps is in its state dict, so that a resumed run goes on with it.
    """

    rule: ClassVar[str]  # what it is called: by Term(layers=...), and its file in conf/mapping/
    supports: ClassVar[Sequence[str]]  # the `inputs` of losses that may be used with it
    summary: ClassVar[str]  # in a few words, for reports
    moves: ClassVar[bool] = True  # whether its weights change during training, and are logged
    # what it must see at once: a "pair", of which it only chooses; the candidates of a "student layer", and is asked to
    # `compare` them; or the costs of "all" pairs, and is asked for `weights_from_costs`
    granularity: ClassVar[Literal["pair", "student layer", "all"]] = "pair"
    learning_rate: float | None = None  # of its own parameters; None where it has none

    def __init__(self, student_layers: int, teacher_layers: int, *, embeddings: bool = True) -> None:
        super().__init__()
        self.shape = student_layers, teacher_layers
        candidates = [CandidatePair(s, t) for s in range(1, student_layers + 1) for t in range(1, teacher_layers + 1)]
        self.pairs: tuple[LayerPair, ...] = (CandidatePair(0, 0), *candidates) if embeddings else tuple(candidates)

    def check_loss(self, loss: nn.Module, student_width: int, teacher_width: int) -> None:
        """Raise ConfigError unless a term with this loss, and hidden states of these widths, can use this map."""
        if loss.inputs not in self.supports:
            supported = " and ".join(self.supports)
            raise ConfigError(
                f"the loss takes {loss.inputs}, but the map {self.rule} serves losses on {supported}",
                hint="give the term a map of its own, such as layers='uniform'",
                key="map.loss",
                inputs=loss.inputs,
                rule=self.rule,
                supports=supported,
            )

    def check_training(self, *, sharded: bool, streaming: bool) -> None:
        """Raise ConfigError where it cannot be trained with parameters that are sharded, or on a stream of examples."""
        if sharded and self.learning_rate is not None:
            raise ConfigError(
                f"the map {self.rule} trains weights that FSDP would shard over the processes",
                hint="leave out one of the two",
                key="map.sharded",
                rule=self.rule,
            )

    @property
    def is_fitted(self) -> bool:
        """False while what it measures before training is not there."""
        return True

    def advance(self, step: int, epoch: int) -> None:
        """Be told before each optimiser step which one it is, and of which epoch, both from 0."""

    def active_pairs(self) -> tuple[LayerPair, ...]:
        """Return the pairs that the present step compares."""
        return self.pairs

    def compare(
        self, layer: int, student: Any, teachers: Sequence[Any], loss: Callable[[Any, Any], Tensor], mask: Tensor | None
    ) -> Tensor:
        """Return the value of a student layer, from 1, against all its candidates.

        student, teachers: what the term's loss takes, already projected. loss: (student, teacher) -> a scalar.
        """
        raise NotImplementedError

    def weights_from_costs(self, costs: Tensor) -> Tensor:
        """Return the weights (M, N) of the pairs' losses. costs: (M, N), their present values, without gradients."""
        raise NotImplementedError

    def weights(self) -> Tensor:
        """Return how much each student layer learns from each teacher layer: (M, N), of all rows the mean sum is 1."""
        raise NotImplementedError

    def measured(self) -> dict[str, Any]:
        """Return what results.json shall keep of it besides its weights."""
        return {}

    def restart(self) -> None:
        """Begin a new mean of the weights, where `weights` is one."""


class BatchWeightedMap(DynamicLayerMap):
    """Base of the maps whose weights differ from batch to batch: `weights` is their mean since the last `restart`.

    Of several processes, and that mean is logged by the first, it is that of the first one's batches.
    """

    seen: Tensor  # (M, N), the sum of all batches' weights
    batches: Tensor  # (M, 1)

    def __init__(self, student_layers: int, teacher_layers: int, *, embeddings: bool = True) -> None:
        super().__init__(student_layers, teacher_layers, embeddings=embeddings)
        self.register_buffer("seen", torch.zeros(student_layers, teacher_layers))
        self.register_buffer("batches", torch.zeros(student_layers, 1))

    @torch.no_grad()
    def note(self, rows: slice, weights: Tensor) -> None:
        """Add one batch's weights (rows, N) of some student layers."""
        self.seen[rows] += weights
        self.batches[rows] += 1

    def weights(self) -> Tensor:
        return self.seen / self.batches.clamp(min=1)

    def restart(self) -> None:
        self.seen.zero_()
        self.batches.zero_()


def weight_statistics(weights: Tensor) -> dict[str, float]:
    """Return, of a map's weights (M, N), each student layer's mean teacher layer and the mean entropy of the rows.

    {"layer/<m>": sum_i i w_mi, "entropy": in nats, between 0 (one layer each) and ln N}, of rows scaled to sum to 1.
    """
    rows = weights.double() / weights.double().sum(1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    layers = torch.arange(1, weights.shape[1] + 1, dtype=torch.float64, device=weights.device)
    statistics = {f"layer/{m}": mean for m, mean in enumerate((rows @ layers).tolist(), 1)}
    return statistics | {"entropy": -torch.special.xlogy(rows, rows).sum(1).mean().item()}
