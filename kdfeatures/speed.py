"""How much faster one model answers than another, measured side by side."""

from __future__ import annotations

import statistics
import time

import torch
from datasets import Dataset
from transformers import DataCollatorWithPadding, PreTrainedModel, PreTrainedTokenizerBase

WARM_UPS, ROUNDS = 2, 15


@torch.no_grad()
def throughput_ratio(
    model: PreTrainedModel, reference: PreTrainedModel, examples: Dataset, tokenizer: PreTrainedTokenizerBase
) -> float:
    """Return examples per second of `model` over those of `reference` on one batch of all `examples`.

    The two alternate, so that whatever else the machine does hits both; the median over rounds of the ratio.
    """
    columns = [name for name in examples.column_names if name in tokenizer.model_input_names]
    batch = DataCollatorWithPadding(tokenizer)(list(examples.select_columns(columns)))
    ratios = []
    for step in range(WARM_UPS + ROUNDS):
        slow, fast = _seconds(reference, batch), _seconds(model, batch)
        if step >= WARM_UPS:
            ratios.append(slow / fast)
    return statistics.median(ratios)


def _seconds(model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> float:
    start = time.perf_counter()
    model.eval()(**batch).logits.sum().item()
    return time.perf_counter() - start
