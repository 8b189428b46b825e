"""One pass of the teacher over a padded batch, and what is to be kept of it, without the padding."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from transformers import PreTrainedModel

from kdfeatures.cache.key import MASK
from kdfeatures.cache.quantities import OPERANDS, Quantity, described, layers_of
from kdfeatures.capture.recorder import Recorder
from kdfeatures.distillation.teacher_outputs import AttentionForm, form_of
from kdfeatures.errors import UserError


class TeacherPass:
    """Records chosen quantities of a teacher in eval mode; a context manager that takes its hooks off again."""

    def __init__(self, teacher: PreTrainedModel, quantities: Iterable[Quantity]) -> None:
        self.teacher, self.quantities = teacher.eval(), tuple(quantities)
        self.recorder = Recorder(
            teacher, hidden=layers_of(self.quantities, "hidden"), attention=layers_of(self.quantities, *OPERANDS)
        )

    def __enter__(self) -> TeacherPass:
        self.recorder.attach()
        return self

    def __exit__(self, *_) -> None:
        self.recorder.detach()

    @torch.no_grad()
    def run(self, batch: dict[str, Tensor]) -> tuple[dict[Quantity, Tensor], dict[int, AttentionForm]]:
        """Return each quantity of a batch, and the forms of its attention layers.

        Over tokens: (real tokens, D, H * d or C), the examples one after the other. Logits of examples: (B, C). Raises
        UserError for a layer with fewer tokens than the batch, and for attention that cannot be rebuilt.
        """
        batch = {name: tensor.to(self.teacher.device) for name, tensor in batch.items()}
        mask = batch[MASK].bool()
        found: dict[Quantity, Tensor] = {}
        if any(quantity.is_logits for quantity in self.quantities):
            with self.recorder.recording() as features:
                logits = self.teacher(**batch).logits
        else:
            features = self.recorder.run(**batch)
        for quantity in self.quantities:
            if quantity.is_logits:
                found[quantity] = _real(logits, mask, quantity) if quantity.per_token else logits
            elif quantity.of == "hidden":
                found[quantity] = _real(features.hidden[quantity.layer], mask, quantity)
            elif quantity.of in OPERANDS:
                states = getattr(features.attention[quantity.layer], quantity.of)
                found[quantity] = _real(states.transpose(1, 2).flatten(2), mask, quantity)
        return found, {layer: form_of(states, mask, layer) for layer, states in features.attention.items()}


def _real(states: Tensor, mask: Tensor, quantity: Quantity) -> Tensor:
    if states.shape[:2] != mask.shape:
        raise UserError(
            f"the teacher's {described([quantity])} has {states.shape[1]} tokens for "
            f"{mask.shape[1]} of input, so it cannot be kept token by token; use cache=off."
        )
    return states[mask]
