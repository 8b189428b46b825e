"""What the teacher's maps and norms are given on a sample of texts: means, covariances, and some of the vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from kdfeatures.models.batches import Batch, real_of, to_device


class Moments:
    """Mean (D,) and covariance (D, D) of vectors that come batch by batch, in float64."""

    def __init__(self, width: int) -> None:
        self.count = 0
        self.sum = torch.zeros(width, dtype=torch.float64)
        self.products = torch.zeros(width, width, dtype=torch.float64)

    def add(self, vectors: Tensor) -> None:
        """Take vectors (n, D)."""
        wide = vectors.double().cpu()
        self.count += len(wide)
        self.sum += wide.sum(0)
        self.products += wide.mT @ wide

    @property
    def mean(self) -> Tensor:
        return self.sum / self.count

    @property
    def covariance(self) -> Tensor:
        return self.products / self.count - torch.outer(self.mean, self.mean)


class Vectors:
    """The first `limit` of the vectors that come batch by batch, (n, D)."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.parts: list[Tensor] = []

    def add(self, vectors: Tensor) -> None:
        """Take vectors (n, D)."""
        missing = self.limit - sum(len(part) for part in self.parts)
        if missing > 0:
            self.parts.append(vectors[:missing].cpu())

    def all(self) -> Tensor:
        """Return them, float64."""
        return torch.cat(self.parts).double()


@torch.no_grad()
def inputs_of(model: PreTrainedModel, batches: Iterable[Batch], records: Mapping[nn.Module, Moments | Vectors]) -> None:
    """Run the model on the batches, in eval mode, and give every record what its module is given at real tokens."""
    real = torch.empty(0)

    def recorder(record: Moments | Vectors) -> Callable[..., None]:
        def take(module: nn.Module, given: tuple[Any, ...]) -> None:
            states = given[0]
            record.add(states[real] if states.dim() == 3 else states)

        return take

    hooks = [module.register_forward_pre_hook(recorder(record)) for module, record in records.items()]
    was_training = model.training
    model.eval()
    try:
        for batch in batches:
            on_device = to_device(batch, model)
            real = real_of(on_device)
            model(**on_device)
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
