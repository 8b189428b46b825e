"""Start a narrower student from a wider teacher's embeddings, along their leading principal directions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


def leading_directions(tables: Sequence[Tensor], width: int) -> Tensor:
    """Return the `width` leading principal directions of a sum of embeddings, (D, width), orthonormal columns.

    tables: token, position and type embeddings and the like, each (rows, D). Their rows count as drawn independently
    and uniformly, so that the covariance of the sum is the sum of the covariances. Largest variance first.
    """
    covariance = sum(torch.cov(table.double().mT, correction=0) for table in tables)
    return torch.linalg.eigh(covariance).eigenvectors.flip(1)[:, :width].to(tables[0].dtype)


@torch.no_grad()
def narrow_embeddings(student: PreTrainedModel, teacher: PreTrainedModel) -> None:
    """Set the student's embedding tables E_s = E_t P, P the leading directions of the teacher's tables; in place.

    No other projection to the student's width keeps more of the embeddings' variance. Tables that are as wide in both
    models, as factorised ones are, are copied. Layers and head keep their weights: between them stand LayerNorms and
    attention heads, which do not commute with a rotation.
    """
    tables, teacher_tables = _tables(student), _tables(teacher)
    wide, narrow = teacher.config.hidden_size, student.config.hidden_size
    projected = [
        name for name, table in teacher_tables.items() if table.shape[1] == wide and tables[name].shape[1] == narrow
    ]
    if projected:
        directions = leading_directions([teacher_tables[name] for name in projected], narrow)
    for name, table in tables.items():
        if name in projected:
            table.copy_(teacher_tables[name] @ directions)
        elif table.shape == teacher_tables[name].shape:
            table.copy_(teacher_tables[name])


def _tables(model: PreTrainedModel) -> dict[str, Tensor]:
    modules = model.base_model.named_modules()
    return {name: module.weight for name, module in modules if isinstance(module, nn.Embedding)}
