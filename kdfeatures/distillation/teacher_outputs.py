"""What models give for a batch, from a forward pass or from a cache, as the objective takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from kdfeatures.distillation.attention_form import AttentionForm, allowed_pairs
from kdfeatures.errors import ConfigError
from kdfeatures.features import OPERANDS, AttentionStates, Features, VocabularyLogits
from kdfeatures.mapping.pairs import DEFAULT_TEACHER

Logits = TypeVar("Logits", np.ndarray, Tensor)
Source = int | str | tuple[str, int | str]  # a layer of the default teacher, or (teacher, layer) of another


class BatchOutputs(NamedTuple):
    """What one model gave for a batch: logits (B, C) in the task's label order, and its captured features.

    The logits are None when no term needs them and the forward pass ended before the head. Those for tokens, (B, L, C),
    become (rows, C) by `at` before a loss sees them; over a vocabulary they may not be made yet. Of several teachers
    (`merge_teachers`) they are {teacher: (B, C)}, and layer n of all but the default one is (teacher, n) among the
    features.
    """

    logits: Tensor | VocabularyLogits | Mapping[str, Tensor] | None
    features: Features

    def at(self, rows: Tensor) -> BatchOutputs:
        """Return these outputs with the logits of the chosen tokens only. rows: boolean (B, L)."""
        if isinstance(self.logits, VocabularyLogits):
            return self._replace(logits=self.logits.at(rows))
        if not isinstance(self.logits, Tensor):
            return self
        # blocks of text are seldom padded, and logits over a vocabulary are large: no copy then
        return self._replace(logits=self.logits.flatten(0, 1) if rows.all() else self.logits[rows])


def merge_teachers(outputs: Mapping[str, BatchOutputs]) -> BatchOutputs:
    """Return what several teachers gave for a batch as the outputs of one; see BatchOutputs for how they differ."""
    features = Features()
    # wider than Features declares: the keys are Sources
    hidden: dict[Any, Tensor] = features.hidden
    attention: dict[Any, AttentionStates] = features.attention
    for name, (_, captured) in outputs.items():
        hidden.update({source_of(name, layer): states for layer, states in captured.hidden.items()})
        attention.update({source_of(name, layer): states for layer, states in captured.attention.items()})
    logits = {
        name: output.logits.logits() if isinstance(output.logits, VocabularyLogits) else output.logits
        for name, output in outputs.items()
        if isinstance(output.logits, (Tensor, VocabularyLogits))
    }
    return BatchOutputs(logits or None, features)


def source_of(teacher: str, layer: int | str) -> Source:
    """Return under which key a teacher's layer is among the merged features."""
    return layer if teacher == DEFAULT_TEACHER else (teacher, layer)


def reordered(logits: Logits, columns: Sequence[int] | None) -> Logits:
    """Return logits (..., C) with their classes in the order of `columns`; None keeps theirs."""
    return logits if columns is None else logits[..., columns]


def restore(cached: Mapping[str, Any], columns: Sequence[int] | None, decoder: nn.Linear | None = None) -> BatchOutputs:
    """Return a teacher's outputs in float32 from what `CachedFeatures.batch` gave.

    columns: put the logits into the student's label order. decoder: the teacher's, for states of which it makes logits;
    these take its precision. Operands that no loss needs are not in the cache; they come back as NaN, so that a loss
    that read them after all would not pass unnoticed.
    Raises ConfigError for such states without a decoder.
    """
    features = Features()
    for layer, states in cached["hidden"].items():
        features.hidden[layer] = states.float()
    for layer, entry in cached["attention"].items():
        features.attention[layer] = _attention(entry)
    states = cached.get("decoder_states")
    if states is not None:
        if decoder is None:
            raise ConfigError(
                "teacher_features hold the states before the teacher's decoder, but no decoder was given",
                hint="give the Distiller teacher_decoders={name: teacher.get_output_embeddings()}",
            )
        return BatchOutputs(VocabularyLogits(states.to(decoder.weight.dtype), decoder.weight, decoder.bias), features)
    logits = cached.get("logits")
    return BatchOutputs(None if logits is None else reordered(logits, columns), features)


def _attention(entry: Mapping[str, Any]) -> AttentionStates:
    form = AttentionForm(**{name: entry[name] for name in AttentionForm._fields})
    operands = {of: _heads(entry[of].float(), form.heads) for of in OPERANDS if of in entry}
    template = next(iter(operands.values()))
    absent = template.new_full((), torch.nan).expand_as(template)
    allowed = allowed_pairs(form, template.shape[2], template.device)
    query, key, value = (operands.get(of, absent) for of in OPERANDS)
    return AttentionStates(query, key, value, form.scale, allowed, positional=form.positional)


def _heads(states: Tensor, heads: int) -> Tensor:
    return states.unflatten(-1, (heads, -1)).transpose(1, 2)  # (B, L, H * d) -> (B, H, L, d)
