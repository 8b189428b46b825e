"""Match the heads of student and teacher on training examples, before training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
from accelerate.utils import broadcast_object_list
from datasets import Dataset
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kdfeatures.errors import UserError
from kdfeatures.heads import HungarianHeads, compare_heads
from kdfeatures.objective import Objective
from kdfeatures.text_batches import text_batches

BATCH = 16
HEADS = "heads.safetensors"  # in a checkpoint: matchings and learned mixes of heads


def fit_heads(
    objective: Objective,
    student: PreTrainedModel,
    teachers: Mapping[str, PreTrainedModel | None],
    examples: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
    checkpoint: Path | None,
) -> None:
    """Fit, in place, the HungarianHeads of the objective's terms; arguments as for kdfeatures.cka_fit.fit_maps."""
    if checkpoint is not None:
        if objective.alignments.state_dict():
            objective.alignments.load_state_dict(saved_heads(checkpoint, objective.alignments))
        return
    for term in objective.terms.values():
        if isinstance(term.heads, HungarianHeads):
            rows = np.random.default_rng(seed).permutation(len(examples))[: term.heads.examples]
            batches = text_batches(examples.select(rows), tokenizer, batch_size=BATCH)
            measure = term.heads.measure
            found = compare_heads(student, teachers[term.teacher], batches, measures=[measure], pairs=term.pairs)
            term.heads.fit(broadcast_object_list([found[measure]])[0])


def saved_heads(checkpoint: Path, alignments: nn.Module) -> dict:
    """Return the state in a checkpoint of an Objective's alignments; raises UserError where it is of other ones."""
    file = checkpoint / HEADS
    found = safetensors.torch.load_file(file) if file.exists() else {}
    theirs, own = ({name: x.shape for name, x in state.items()} for state in (found, alignments.state_dict()))
    if theirs != own:
        raise UserError(
            f"{checkpoint} was written with other heads=; resume with the same, or start anew with existing=overwrite."
        )
    return found


def heads_of(objective: Objective) -> dict[str, dict[str, Any]]:
    """Return what results.json keeps of matched or mixed heads, by term; see kdfeatures.results."""
    aligned = {name: term.heads for name, term in objective.terms.items() if term.heads is not None}
    return {name: {"rule": one.rule, **one.state()} for name, one in aligned.items()}
