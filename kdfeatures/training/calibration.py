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

from kdfeatures.alignment.hungarian import HeadMatches, HungarianHeads
from kdfeatures.alignment.pca import PcaProjections
from kdfeatures.analysis.batches import pair_batches
from kdfeatures.analysis.compare_heads import compare_heads
from kdfeatures.analysis.compare_layers import compare_layers
from kdfeatures.capture.context import capture
from kdfeatures.data.subsets import sample
from kdfeatures.distillation.bound import BoundObjective
from kdfeatures.errors import ConfigError
from kdfeatures.mapping import CkaMap
from kdfeatures.models.batches import to_device
from kdfeatures.tokenization.teacher_columns import Tokenizers
from kdfeatures.training.checkpoints import HEADS, MAPS, saved_part

MAPS_BATCH, HEADS_BATCH, PCA_BATCH = 32, 16, 32  # texts a forward pass, so that a measurement is always the same


def fit_maps(
    objective: BoundObjective,
    student: PreTrainedModel,
    teachers: Mapping[str, PreTrainedModel | None],
    examples: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
    checkpoint: Path | None,
    others: Tokenizers | None = None,
) -> None:
    """Fit, in place, the objective's CkaMaps, and leave in their terms the pairs that they chose.

    examples: encoded training examples, of which `seed` chooses those to measure. checkpoint: of the run that goes on,
    whose maps are taken instead. others: tokenizers of the teachers that have their own. All processes take what the
    first has found. Raises UserError for a checkpoint of other maps, and where a similarity is not finite.
    """
    measured: dict[tuple[str, int], Tensor] = {}
    for name, fitted in objective.maps.items():
        if not isinstance(fitted, CkaMap):
            continue
        if checkpoint is not None:
            similarity = saved_part(checkpoint, MAPS, objective.moving)[f"of_{name}.similarity"]
        else:
            key = objective.terms[name].teacher, fitted.examples
            if key not in measured:
                chosen = sample(examples, fitted.examples, seed)
                batches = pair_batches(chosen, tokenizer, key[0], others or {}, batch_size=MAPS_BATCH)
                measured[key] = compare_layers(student, _model(teachers, key[0]), batches).similarity[1:, 1:]
            similarity = measured[key]
            if not similarity.isfinite().all():
                raise ConfigError(
                    "the map cka met hidden states that are not finite, so layers cannot be compared",
                    hint="check both models, or use uniform",
                    key="map.cka_not_finite",
                )
        fitted.fit(broadcast_object_list([similarity])[0])
        term = objective.terms[name]
        objective.terms[name] = replace(term, pairs=term.active_pairs)


def fit_heads(
    objective: BoundObjective,
    student: PreTrainedModel,
    teachers: Mapping[str, PreTrainedModel | None],
    examples: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
    checkpoint: Path | None,
    others: Tokenizers | None = None,
) -> None:
    """Fit, in place, the HungarianHeads of the terms of the objective; arguments as for `fit_maps`."""
    if checkpoint is not None:
        objective.alignments.load_state_dict(saved_part(checkpoint, HEADS, objective.alignments))
        return
    for term in objective.terms.values():
        if isinstance(term.heads, HungarianHeads):
            chosen = sample(examples, term.heads.examples, seed)
            batches = pair_batches(chosen, tokenizer, term.teacher, others or {}, batch_size=HEADS_BATCH)
            measure = term.heads.measure
            teacher = _model(teachers, term.teacher)
            compared = compare_heads(student, teacher, batches, measures=[measure], pairs=term.pairs)
            matches = {
                pair: HeadMatches(heads.matching.pairs, heads.matching.on(heads.similarity))
                for pair, heads in compared[measure].items()
            }
            term.heads.fit(broadcast_object_list([matches])[0])


def _model(teachers: Mapping[str, PreTrainedModel | None], name: str) -> PreTrainedModel:
    teacher = teachers[name]
    assert teacher is not None  # of stored outputs no term compares layers
    return teacher


def heads_of(objective: BoundObjective) -> dict[str, dict[str, Any]]:
    """Return what results.json keeps of matched or mixed heads, by term; see kdfeatures.runs.results."""
    aligned = {name: term.heads for name, term in objective.terms.items() if term.heads is not None}
    return {name: {"rule": heads.rule, **heads.state()} for name, heads in aligned.items()}


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
            padded = collate([chosen[i] for i in range(start, min(start + PCA_BATCH, len(chosen)))])
            batch = to_device(padded, teacher)
            teacher(**batch)
            for layer, of_layer in states.items():
                of_layer.append(features.hidden[layer][batch["attention_mask"].bool()])
    projections.fit({layer: torch.cat(of_layer) for layer, of_layer in states.items()})
