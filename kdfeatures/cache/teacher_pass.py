"""One pass of the teacher over a padded batch, and what is to be kept of it, without the padding."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext

import torch
from torch import Tensor
from transformers import PreTrainedModel

from kdfeatures.cache.key import MASK
from kdfeatures.cache.quantities import DECODER_STATES, Quantity, describe_quantities, layers_of
from kdfeatures.capture.decoder import DecoderTap
from kdfeatures.capture.recorder import Recorder
from kdfeatures.distillation.attention_form import AttentionForm, form_of
from kdfeatures.errors import ConfigError
from kdfeatures.features import OPERANDS, Features


class TeacherPass:
    """Records chosen quantities of a teacher in eval mode; a context manager that takes its hooks off again.

    Its logits and the states before its decoder are not asked for at once.
    """

    def __init__(self, teacher: PreTrainedModel, quantities: Iterable[Quantity]) -> None:
        self.teacher, self.quantities = teacher.eval(), tuple(quantities)
        self.recorder = Recorder(
            teacher, hidden=layers_of(self.quantities, "hidden"), attention=layers_of(self.quantities, *OPERANDS)
        )
        self.tap: DecoderTap | None = None

    def __enter__(self) -> TeacherPass:
        self.recorder.attach()
        if DECODER_STATES in self.quantities:
            self.tap = DecoderTap(self.teacher.get_output_embeddings())
        return self

    def __exit__(self, *_) -> None:
        self.recorder.detach()
        if self.tap is not None:
            self.tap.detach()

    @torch.no_grad()
    def run(self, batch: dict[str, Tensor]) -> tuple[dict[Quantity, Tensor], dict[int, AttentionForm]]:
        """Return each quantity of a batch, and the forms of its attention layers.

        Over tokens: (real tokens, D, H * d or C), the examples one after the other. Logits of examples: (B, C). Raises
        ConfigError for a layer with fewer tokens than the batch, and for attention that cannot be rebuilt.
        """
        batch = {name: tensor.to(self.teacher.device) for name, tensor in batch.items()}
        mask = batch[MASK].bool()
        values: dict[Quantity, Tensor] = {}
        if any(quantity.layer is None for quantity in self.quantities):
            features = Features()
            with self.recorder.recording(features), nullcontext() if self.tap is None else self.tap.holding():
                logits = self.teacher(**batch).logits
        else:
            features = self.recorder.run(**batch)
        for quantity in self.quantities:
            if quantity.is_logits:
                values[quantity] = _real(logits, mask, quantity) if quantity.per_token else logits
            elif quantity == DECODER_STATES:
                assert self.tap is not None
                values[quantity] = _real(self.tap.take().states, mask, quantity)
            elif quantity.of == "hidden":
                values[quantity] = _real(features.hidden[quantity.layer_number], mask, quantity)
            elif quantity.of in OPERANDS:
                states = getattr(features.attention[quantity.layer_number], quantity.of)
                values[quantity] = _real(states.transpose(1, 2).flatten(2), mask, quantity)
        return values, {layer: form_of(states, mask, layer) for layer, states in features.attention.items()}


def _real(states: Tensor, mask: Tensor, quantity: Quantity) -> Tensor:
    if states.shape[:2] != mask.shape:
        subject = describe_quantities([quantity])
        raise ConfigError(
            f"the teacher's {subject} has {states.shape[1]} tokens for {mask.shape[1]} of input, so it cannot be kept "
            "token by token",
            hint="do without a cache",
            key="cache.tokens",
            what=subject,
            states=states.shape[1],
            tokens=mask.shape[1],
        )
    return states[mask]
