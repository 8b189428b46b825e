"""Capture features of forward passes: the short forms of `kdfeatures.capture.recorder.Recorder`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from kdfeatures.capture.recorder import Layers, Recorder
from kdfeatures.features import Features


@contextmanager
def capture(
    model: nn.Module,
    *,
    hidden: Layers = (),
    attention: Sequence[int] = (),
    modules: Sequence[str] = (),
    encoder: str | None = None,
) -> Iterator[Features]:
    """Record features of every forward pass inside the `with` block; nothing stays attached after it.

    Args:
        model: a transformers encoder with or without a head; with `modules` alone, or with `encoder`, any module.
        hidden: layers whose output to keep, 0 the embeddings; "final" keeps the last hidden state that the base model
            returns, which differs from the last layer's output where a norm follows it (ModernBERT, EuroBERT, ESM).
        attention: layers whose query, key and value to keep, from 1.
        modules: dotted paths of submodules whose output to keep, whatever it is.
        encoder: dotted path of the transformers encoder inside a module of one's own.

    Returns:
        Features of the last forward pass: each replaces those of the one before.

    Raises:
        UserError: when a layer or module does not exist, or the model cannot be captured; before anything is attached.

    Unlike `extract` the pass runs to its end and gives the model's own outputs, bit by bit.

    >>> from transformers import BertConfig, BertModel
    >>> import torch
    >>> sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    >>> model = BertModel(BertConfig(vocab_size=30, **sizes)).eval()
    >>> with capture(model, hidden=[0, 2], attention=[1], modules=["embeddings"]) as features:
    ...     outputs = model(input_ids=torch.tensor([[2, 7, 9, 3]]))
    >>> torch.equal(features.hidden[2], outputs.last_hidden_state)
    True
    >>> features.attention_probs(1).shape, features.modules["embeddings"].shape
    (torch.Size([1, 2, 4, 4]), torch.Size([1, 4, 8]))
    """
    recorder = Recorder(model, hidden=hidden, attention=attention, modules=modules, encoder=encoder)
    recorder.attach()
    features = Features()
    try:
        with recorder.recording(features):
            yield features
    finally:
        recorder.detach()


def extract(
    model: nn.Module,
    *,
    hidden: Layers = (),
    attention: Sequence[int] = (),
    modules: Sequence[str] = (),
    encoder: str | None = None,
    **inputs: Any,
) -> Features:
    """Run one forward pass that ends as soon as all features are there, and return them.

        features = extract(model, hidden=[3], **batch)        # layers 4 and up, and the head, are not computed

    Arguments as for `capture`; inputs: what the model is called with. Unlike `capture` there are no outputs. Raises
    UserError as `capture` does, and when nothing is asked for.
    """
    recorder = Recorder(model, hidden=hidden, attention=attention, modules=modules, encoder=encoder)
    recorder.attach()
    try:
        return recorder.run(**inputs)
    finally:
        recorder.detach()


@contextmanager
def eval_pass(
    model: nn.Module, *, hidden: Sequence[int] = (), attention: Sequence[int] = ()
) -> Iterator[Callable[[Mapping[str, Tensor]], Features]]:
    """Give a function from a batch to its features in eval mode, and leave the model as it was."""
    recorder, was_training = Recorder(model, hidden=hidden, attention=attention), model.training
    model.eval()
    recorder.attach()
    try:
        yield lambda batch: recorder.run(**batch)
    finally:
        recorder.detach()
        model.train(was_training)
