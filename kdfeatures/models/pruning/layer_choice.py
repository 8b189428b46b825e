"""Which of the teacher's layers a student keeps where they are not named one by one."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from kdfeatures.capture.context import eval_pass
from kdfeatures.capture.families import encoder_of
from kdfeatures.mapping.rules import uniform
from kdfeatures.models.batches import Batch, real_of, to_device
from kdfeatures.models.pruning.importance import most_important

MEASURED = "importance"
RULES = ("uniform", "lower", "upper", "alternating", MEASURED)


def chosen_by(rule: str, student_layers: int, teacher_layers: int, *, first_stays: bool = False) -> list[int]:
    """Return the teacher layers, from 1, of a rule that needs no measurement, in ascending order.

    uniform spreads them evenly and ends with the last (TinyBERT's map); lower and upper take them from either end;
    alternating steps evenly from the first, so that 6 of 12 are 1, 3, ..., 11, the other half of what uniform takes
    (compared as starts in arXiv:2305.15032). first_stays: of a family whose first layer can be no other; it then takes
    the place of the first that was chosen.

    >>> chosen_by("alternating", 3, 6), chosen_by("uniform", 3, 6), chosen_by("uniform", 3, 6, first_stays=True)
    ([1, 3, 5], [2, 4, 6], [1, 4, 6])
    """
    if rule == "lower":
        layers = list(range(1, student_layers + 1))
    elif rule == "upper":
        layers = list(range(teacher_layers - student_layers + 1, teacher_layers + 1))
    elif rule == "alternating":
        layers = [1 + n * teacher_layers // student_layers for n in range(student_layers)]
    else:
        assert rule == "uniform", rule
        layers = [pair.teacher for pair in uniform(student_layers, teacher_layers, embeddings=False)]
    return [1, *layers[1:]] if first_stays else layers


@torch.no_grad()
def layer_influence(model: PreTrainedModel, batches: Iterable[Batch]) -> Tensor:
    """Return how much each layer changes what passes through it, 1 - mean cosine of its input and output, (layers,).

    Block Influence (ShortGPT, arXiv:2403.03853, eq. 1), over the real tokens of the batches, in eval mode.
    """
    depth = len(encoder_of(model).layers)
    total, count = torch.zeros(depth, dtype=torch.float64), 0
    with eval_pass(model, hidden=range(depth + 1)) as see:
        for batch in batches:
            real = real_of(batch)
            hidden = see(to_device(batch, model)).hidden
            states = [hidden[layer][real.to(hidden[layer].device)].double().cpu() for layer in range(depth + 1)]
            for layer in range(depth):
                total[layer] += (1 - F.cosine_similarity(states[layer], states[layer + 1], dim=-1)).sum()
            count += len(states[0])
    return total / max(count, 1)


def most_influential(model: PreTrainedModel, batches: Iterable[Batch], count: int) -> list[int]:
    """Return the `count` teacher layers, from 1 and ascending, that change their input most."""
    return [layer + 1 for layer in most_important(layer_influence(model, batches), count).tolist()]
