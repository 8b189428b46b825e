"""Capture features of forward passes: the short forms of `kdfeatures.capture.recorder.Recorder`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from transformers import PreTrainedModel

from kdfeatures.analysis.batches import Batch
from kdfeatures.capture.recorder import Layers, Recorder
from kdfeatures.features import Features


@contextmanager
def capture(model: PreTrainedModel, *, hidden: Layers = (), attention: Sequence[int] = ()) -> Iterator[Features]:
    """Record features of every forward pass inside the `with` block; nothing stays attached after it.

        with capture(model, hidden=[0, 3, 6], attention=[3, 6]) as features:
            model(**batch)
        features.hidden[3]            # (B, L, D)
        features.probabilities(6)     # (B, H, L, L)

    hidden: layers whose output to keep, 0 = embeddings; "final" keeps the last hidden state that the base model
    returns, which differs from the last layer's output where a norm follows it (ModernBERT, EuroBERT, ESM, ...).
    attention: layers whose q, k, v to keep, from 1.
    Each forward pass replaces the features of the one before. Raises UserError when a layer does not exist or the
    model cannot be captured, before anything is attached. See `extract` for a pass that ends early.
    """
    recorder = Recorder(model, hidden=hidden, attention=attention)
    recorder.attach()
    try:
        with recorder.recording() as features:
            yield features
    finally:
        recorder.detach()


def extract(model: PreTrainedModel, *, hidden: Layers = (), attention: Sequence[int] = (), **inputs) -> Features:
    """Run one forward pass that ends as soon as all features are there, and return them.

        features = extract(model, hidden=[3], **batch)        # layers 4 and up, and the head, are not computed

    Unlike `capture` there are no outputs. Raises UserError as `capture` does, and when nothing is asked for.
    """
    recorder = Recorder(model, hidden=hidden, attention=attention)
    recorder.attach()
    try:
        return recorder.run(**inputs)
    finally:
        recorder.detach()


@contextmanager
def measured(
    model: PreTrainedModel, *, hidden: Sequence[int] = (), attention: Sequence[int] = ()
) -> Iterator[Callable[[Batch], Features]]:
    """Give a function from a batch to its features, and leave the model as it was."""
    recorder, was_training = Recorder(model, hidden=hidden, attention=attention), model.training
    model.eval()
    recorder.attach()
    try:
        yield lambda batch: recorder.run(**batch)
    finally:
        recorder.detach()
        model.train(was_training)
