"""Measure how similar the layers of teacher and student are, and choose the maps that follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from accelerate.utils import broadcast_object_list
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kdfeatures.analysis.batches import text_batches
from kdfeatures.analysis.compare_layers import compare_layers
from kdfeatures.data.subsets import sample
from kdfeatures.distillation.objective import Objective
from kdfeatures.errors import UserError
from kdfeatures.mapping import CkaMap
from kdfeatures.training.checkpoints import MAPS, saved_part

BATCH = 32


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
                batches = text_batches(sample(examples, fitted.examples, seed), tokenizer, batch_size=BATCH)
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
