"""What is measured on training examples before training begins: maps by CKA, matched heads, principal directions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from datasets import Dataset
from torch import Tensor
from transformers import DataCollatorWithPadding, PreTrainedModel, PreTrainedTokenizerBase

from kdfeatures.alignment.heads import HungarianHeads
from kdfeatures.alignment.projections import PcaProjections
from kdfeatures.analysis.batches import text_batches
from kdfeatures.analysis.compare_heads import compare_heads
from kdfeatures.analysis.compare_layers import compare_layers
from kdfeatures.capture.context import capture
from kdfeatures.data.subsets import sample
from kdfeatures.distillation.objective import Objective
from kdfeatures.errors import UserError
from kdfeatures.mapping import CkaMap
from kdfeatures.training.checkpoints import HEADS, MAPS, saved_part

MAPS_BATCH, HEADS_BATCH, PCA_BATCH = 32, 16, 32  # texts a forward pass, so that a measurement is always the same


def fit_maps(
    objective: Objective,
    student: PreTrainedModel,
    teachers: Mapping[str, PreTrainedModel | None],
    examples: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
    checkpoint: Path | None,
) -> None:
    """Fit, in place, the objective's CkaMaps, and leave in their terms the pairs that they chose.

    examples: encoded training examples, of which `seed` chooses those to measure. checkpoint: of the run that goes
    on, whose maps are taken instead. All processes take what the first has found. Raises UserError for a checkpoint of
    other maps, and where a similarity is not finite.
    """
    found: dict[tuple[str, int], Tensor] = {}
    for name, fitted in objective.maps.items():
        if not isinstance(fitted, CkaMap):
            continue
        if checkpoint is not None:
            similarity = saved_part(checkpoint, MAPS, objective.moving)[f"of_{name}.similarity"]
        else:
            key = objective.terms[name].teacher, fitted.examples
            if key not in found:
                batches = text_batches(sample(examples, fitted.examples, seed), tokenizer, batch_size=MAPS_BATCH)
                found[key] = compare_layers(student, teachers[key[0]], batches).similarity[1:, 1:]
            similarity = found[key]
            if not similarity.isfinite().all():
                raise UserError(
                    "mapping=cka found hidden states that are not finite, so layers cannot be compared; check both "
                    "models, or use mapping=uniform."
                )
        fitted.fit(broadcast_object_list([similarity])[0])
        term = objective.terms[name]
        objective.terms[name] = replace(term, pairs=term.compared)


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
            batches = text_batches(sample(examples, term.heads.examples, seed), tokenizer, batch_size=HEADS_BATCH)
            measure = term.heads.measure
            found = compare_heads(student, teachers[term.teacher], batches, measures=[measure], pairs=term.pairs)
            term.heads.fit(broadcast_object_list([found[measure]])[0])


def heads_of(objective: Objective) -> dict[str, dict[str, Any]]:
    """Return what results.json keeps of matched or mixed heads, by term; see kdfeatures.runs.results."""
    aligned = {name: term.heads for name, term in objective.terms.items() if term.heads is not None}
    return {name: {"rule": one.rule, **one.state()} for name, one in aligned.items()}


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
        for start in range(0, len(chosen), PCA_BATCH):
            batch = collate([chosen[i] for i in range(start, min(start + PCA_BATCH, len(chosen)))]).to(teacher.device)
            teacher(**batch)
            for layer, found in states.items():
                found.append(features.hidden[layer][batch["attention_mask"].bool()])
    projections.fit({layer: torch.cat(found) for layer, found in states.items()})
