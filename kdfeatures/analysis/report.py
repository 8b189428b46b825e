"""What a page says of two models and, where it is known, of the student before its distillation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from kdfeatures.analysis.batches import PairBatch
from kdfeatures.analysis.compare_heads import HeadComparison, compare_heads
from kdfeatures.analysis.compare_layers import LayerComparison, compare_layers
from kdfeatures.analysis.heatmaps import Panel, heat_maps
from kdfeatures.analysis.html_page import Picture
from kdfeatures.mapping.pairs import LayerPair
from kdfeatures.models.batches import Batch

Cells = Sequence[tuple[int, int]]  # (row, column)
MEANINGS = {
    "divergence": "1 less the Jensen-Shannon divergence (in bits) of the two attention maps: 1 is the same map, 0 no "
    "overlap.",
    "correlation": "Correlation of the attention scores before softmax, each row less its mean: 1 is the same pattern, "
    "negative the opposite one.",
    "cka": "Debiased linear CKA of what the heads put out, probabilities times values, token by token: 1 is equal up "
    "to rotation and scale, 0 unrelated.",
}


class Measured(NamedTuple):
    """Layers and heads, by measure and pair of layers, against the teacher's; those of before are None without it."""

    layers: LayerComparison
    heads: dict[str, dict[LayerPair, HeadComparison]]
    layers_before: LayerComparison | None
    heads_before: dict[str, dict[LayerPair, HeadComparison]] | None

    def before(self, measure: str) -> dict[LayerPair, HeadComparison]:
        """Return the heads of before by pair of layers; empty without them."""
        return {} if self.heads_before is None else self.heads_before[measure]


def measure(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    before: PreTrainedModel | None,
    batches: Sequence[Batch] | Sequence[PairBatch],
    *,
    measures: Sequence[str],
    pairs: Sequence[LayerPair],
) -> Measured:
    """Compare the student, and the one before if there is one, with the teacher on the same texts."""
    comparisons: list[Any] = []
    for model in (student, before):
        if model is None:
            comparisons += [None, None]
            continue
        comparisons.append(compare_layers(model, teacher, batches))
        comparisons.append(compare_heads(model, teacher, batches, measures=measures, pairs=pairs))
    return Measured(*comparisons)


def draw_layers(found: Measured, pairs: Sequence[LayerPair], path: Path) -> Picture:
    """Draw the similarity of all layers, with the mapped ones outlined, to `path`, and return what the page shows."""
    before = None if found.layers_before is None else (found.layers_before.similarity, pairs)
    panels = _panels((found.layers.similarity, pairs), before, found.layers.null)
    dark = heat_maps(panels, path, rows="student layer", columns="teacher layer", start=0, limits=(0, 1))
    described = f"CKA of student and teacher layers. {_describe_cells(panels, pairs)}"
    return Picture.of(path.read_bytes(), dark, described)


def draw_heads(found: Measured, name: str, folder: Path) -> dict[str, dict[str, Any]]:
    """Draw the similarity of all heads by one measure; return what the page shows of each pair, by its key."""
    after, before = found.heads[name], found.before(name)
    panels = {}
    for pair, heads in after.items():
        then = before.get(pair)
        cells_before = None if then is None else (then.similarity, then.matching.pairs)
        panels[pair] = _panels((heads.similarity, heads.matching.pairs), cells_before, heads.null)
    values = torch.cat([torch.from_numpy(panel.matrix).flatten() for of_pair in panels.values() for panel in of_pair])
    limits = (values.min().item(), values.max().item())
    shown = {}
    for pair, heads in after.items():
        file = folder / f"heads_{name}_{pair.student}_{pair.teacher}.png"
        dark = heat_maps(panels[pair], file, rows="student head", columns="teacher head", start=0, limits=limits)
        described = f"Similarity of heads, student layer {pair.student}, teacher layer {pair.teacher}, by {name}."
        alt = f"{described} {_describe_cells(panels[pair], heads.matching.pairs)}"
        picture = Picture.of(file.read_bytes(), dark, alt)
        shown[pair_key(pair)] = picture._asdict() | matched(heads, before.get(pair))
    return shown


def pair_key(pair: LayerPair) -> str:
    """Return how data name a pair of layers."""
    return f"{pair.student}-{pair.teacher}"


def matched(after: HeadComparison, before: HeadComparison | None) -> dict[str, Any]:
    """Return the matched heads of one pair of layers, similarities of the half of the texts they were not fitted to."""
    then = {}
    if before is not None:
        partners = zip(before.matching.pairs, before.matching.on(before.similarity), strict=True)
        then = {s: {"before_teacher": t, "before_similarity": value} for (s, t), value in partners}
    nothing = dict.fromkeys(("before_teacher", "before_similarity")) if before is not None else {}
    matching = after.matching
    values = matching.on(after.similarity), matching.margins_on(after.similarity), matching.on(after.null)
    return {
        "pairs": [
            {"student": s, "teacher": t, "similarity": value, "margin": _finite(margin), "null": null}
            | then.get(s, nothing)
            for (s, t), value, margin, null in zip(matching.pairs, *values, strict=True)
        ],
        "unmatched_student": matching.unmatched_student,
        "unmatched_teacher": matching.unmatched_teacher,
    }


def summary_of(found: Measured) -> list[dict[str, str]]:
    """Return the table of means over matched heads, a row for every measure and pair of layers."""
    rows = []
    for name, by_pair in found.heads.items():
        for pair, heads in by_pair.items():
            row = {"measure": name, "student ← teacher": f"{pair.student} ← {pair.teacher}"}
            models = {"": heads}
            if found.heads_before is not None:
                models = {"before: ": found.heads_before[name][pair], "after: ": heads}
            for when, comparison in models.items():
                for what, value in (
                    ("matched", comparison.matched),
                    ("other texts", comparison.matched_null),
                    ("any", comparison.any_pair),
                ):
                    row[f"{when}{what}"] = f"{round(value, 2) + 0.0:.2f}"
            rows.append(row)
    return rows


def _panels(after: tuple[Tensor, Cells], before: tuple[Tensor, Cells] | None, null: Tensor) -> list[Panel]:
    """Return a matrix and its outlined cells, those before distillation to the left, and the null to the right."""
    shown = {"student": after} if before is None else {"before distillation": before, "after distillation": after}
    shown["other texts"] = (null, after[1])
    return [Panel(title, matrix.numpy(), marked) for title, (matrix, marked) in shown.items()]


def _describe_cells(panels: Sequence[Panel], marked: Cells) -> str:
    """Say what the outlined cells hold: those of each panel on average, and of the second to last one by one."""
    means = [f"{panel.title} {panel.matrix[tuple(zip(*panel.marked, strict=True))].mean():.2f}" for panel in panels]
    single = [f"{s} with {t} {panels[-2].matrix[s, t]:.2f}" for s, t in marked]
    return f"Mean of the outlined cells: {', '.join(means)}. {panels[-2].title.capitalize()}: {', '.join(single)}."


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None  # a single teacher head has no next one
