"""What does capture cost beside a plain forward pass, and beside asking transformers for all maps?

python -m benchmarks.capture
"""

from __future__ import annotations

import copy

import torch
from transformers import AutoModel, BertConfig

from benchmarks.harness import append_rows, time_ratios
from kdfeatures.recorder import Recorder

BATCH, ROUNDS = 8, 25


def main() -> None:
    """Forward passes of a 6 x 384 BERT without gradients, at three lengths."""
    torch.manual_seed(0)
    config = BertConfig(num_hidden_layers=6, hidden_size=384, num_attention_heads=12, intermediate_size=1536)
    plain = AutoModel.from_config(config).eval()
    captured, eager = copy.deepcopy(plain), copy.deepcopy(plain)
    eager.set_attn_implementation("eager")
    recorder = Recorder(captured, hidden=range(7), attention=(3, 6))
    recorder.attach()
    rows = []
    for length in (64, 128, 512):
        batch = {
            "input_ids": torch.randint(5, 30000, (BATCH, length)),
            "attention_mask": torch.ones(BATCH, length, dtype=torch.long),
        }
        batch["attention_mask"][::2, length // 2 :] = 0

        def recorded(batch=batch) -> None:
            with recorder.recording():
                captured(**batch)

        variants = {
            "plain sdpa": lambda batch=batch: plain(**batch),
            "capture all hidden, q k v of 2 layers": recorded,
            "eager output_hidden_states, output_attentions": lambda batch=batch: eager(
                **batch, output_hidden_states=True, output_attentions=True
            ),
        }
        with torch.no_grad():
            for name, (median, low, high) in time_ratios(variants, rounds=ROUNDS).items():
                ratios = {"time_ratio": f"{median:.3f}", "p20": f"{low:.3f}", "p80": f"{high:.3f}"}
                rows.append({"variant": name, "batch": BATCH, "length": length} | ratios)
    append_rows("capture", rows)


if __name__ == "__main__":
    main()
