"""What runs take from their last evaluation, held against what their models answer."""

from __future__ import annotations

import numpy as np
import pytest

from kdfeatures.pipelines.scores import predict_splits, trained_answers
from kdfeatures.runtime.threads import torch_threads


@pytest.fixture
def asked_again(monkeypatch):
    """Ask the model of each run once more, compare bit by bit, and note which splits its last evaluation had."""
    taken = []

    def both(task, trainer, model, splits, tokenizer, *, title):
        answers = trained_answers(task, trainer, model, splits, tokenizer, title=title)
        batch_size = trainer.args.per_device_eval_batch_size
        with torch_threads(trainer.threads):
            fresh = predict_splits(task, model, splits, tokenizer, None, batch_size=batch_size, title="once more")
        for name, values in fresh.items():
            np.testing.assert_array_equal(answers[name], values)
        taken.append([name for name, split in splits.items() if trainer.answers_on(split) is not None])
        return answers

    for pipeline in ("distill", "finetune"):
        monkeypatch.setattr(f"kdfeatures.pipelines.{pipeline}.trained_answers", both)
    return taken
