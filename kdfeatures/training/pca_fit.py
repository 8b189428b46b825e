"""Show PcaProjections the teacher's hidden states before training."""

from __future__ import annotations

import torch
from datasets import Dataset
from transformers import DataCollatorWithPadding, PreTrainedModel, PreTrainedTokenizerBase

from kdfeatures.alignment.projections import PcaProjections
from kdfeatures.capture.context import capture
from kdfeatures.data.subsets import sample

BATCH = 32


@torch.no_grad()
def fit_pca(
    projections: PcaProjections,
    teacher: PreTrainedModel,
    examples: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
) -> None:
    """Fit to hidden states at the real tokens of `projections.examples` encoded examples, chosen by `seed`."""
    collate = DataCollatorWithPadding(tokenizer)
    columns = [name for name in examples.column_names if name in tokenizer.model_input_names]
    chosen = sample(examples.select_columns(columns), projections.examples, seed)
    states: dict[int, list[torch.Tensor]] = {layer: [] for layer in projections.layers}
    with capture(teacher, hidden=projections.layers) as features:
        for start in range(0, len(chosen), BATCH):
            batch = collate([chosen[i] for i in range(start, min(start + BATCH, len(chosen)))]).to(teacher.device)
            teacher(**batch)
            for layer, found in states.items():
                found.append(features.hidden[layer][batch["attention_mask"].bool()])
    projections.fit({layer: torch.cat(found) for layer, found in states.items()})
