"""Match the heads of student and teacher on training examples, before training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kdfeatures.alignment.heads import HungarianHeads
from kdfeatures.analysis.batches import text_batches
from kdfeatures.analysis.compare_heads import compare_heads
from kdfeatures.data.subsets import sample
from kdfeatures.distillation.objective import Objective
from kdfeatures.training.checkpoints import HEADS, saved_part

BATCH = 16


def fit_heads(
    objective: Objective,
    student: PreTrainedModel,
    teachers: Mapping[str, PreTrainedModel | None],
    examples: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
    checkpoint: Path | None,
) -> None:
    """Fit, in place, the HungarianHeads of the terms of the objective; arguments as for `fit_maps`."""
    if checkpoint is not None:
        objective.alignments.load_state_dict(saved_part(checkpoint, HEADS, objective.alignments))
        return
    for term in objective.terms.values():
        if isinstance(term.heads, HungarianHeads):
            batches = text_batches(sample(examples, term.heads.examples, seed), tokenizer, batch_size=BATCH)
            measure = term.heads.measure
            found = compare_heads(student, teachers[term.teacher], batches, measures=[measure], pairs=term.pairs)
            term.heads.fit(broadcast_object_list([found[measure]])[0])


def heads_of(objective: Objective) -> dict[str, dict[str, Any]]:
    """Return what results.json keeps of matched or mixed heads, by term; see kdfeatures.runs.results."""
    aligned = {name: term.heads for name, term in objective.terms.items() if term.heads is not None}
    return {name: {"rule": one.rule, **one.state()} for name, one in aligned.items()}
