"""Forward passes for measurements: in eval mode, without gradients, as deep as the layers that are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from transformers import PreTrainedModel

from kdfeatures.analysis.batches import Batch
from kdfeatures.capture.recorder import Recorder
from kdfeatures.features import Features


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
