"""What does capture cost beside a plain forward pass, and what does a pass save that ends early?

python -m benchmarks.capture
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from transformers import AutoModel, BertConfig

from benchmarks.harness import append_rows, keep_freed_memory, peak_mebibytes, time_ratios
from kdfeatures.capture.context import capture, extract

BATCH = 4
ROUNDS = {64: 100, 128: 60, 512: 25}  # by length: short passes need more for the same certainty


def variants(length: int) -> dict[str, Callable[[], object]]:
    """Forward passes without gradients of a 6 x 384 BERT; half of the sequences are padded to twice their length."""
    torch.manual_seed(0)
    config = BertConfig(num_hidden_layers=6, hidden_size=384, num_attention_heads=12, intermediate_size=1536)
    model = AutoModel.from_config(config).eval()
    eager = copy.deepcopy(model)
    eager.set_attn_implementation("eager")
    batch = {
        "input_ids": torch.randint(5, 30000, (BATCH, length)),
        "attention_mask": torch.ones(BATCH, length, dtype=torch.long),
    }
    batch["attention_mask"][::2, length // 2 :] = 0

    def captured() -> None:
        # the same weights as the plain pass: a copy elsewhere in memory alone shifts the ratio by some percent
        with capture(model, hidden=range(7), attention=(3, 6)):
            model(**batch)

    return {
        "plain sdpa": lambda: model(**batch),
        "plain sdpa, again": lambda: model(**batch),
        "capture all hidden, q k v of 2 layers": captured,
        "stop after layer 3 of 6, its hidden and q k v": lambda: extract(model, hidden=(3,), attention=(3,), **batch),
        "eager output_hidden_states, output_attentions": lambda: eager(
            **batch, output_hidden_states=True, output_attentions=True
        ),
    }


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    timed = {length: variants(length) for length in ROUNDS}
    peaks = {length: {name: peak_mebibytes(variant) for name, variant in timed[length].items()} for length in timed}
    keep_freed_memory()
    rows = []
    for length, rounds in ROUNDS.items():
        for name, (median, low, high) in time_ratios(timed[length], rounds=rounds).items():
            ratios = {"time_ratio": f"{median:.3f}", "p20": f"{low:.3f}", "p80": f"{high:.3f}"}
            peak = {"peak_mib": f"{peaks[length][name]:.0f}"}
            rows.append({"variant": name, "batch": BATCH, "length": length} | ratios | peak)
    append_rows("capture", rows)


if __name__ == "__main__":
    main()
