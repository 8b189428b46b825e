"""The report on an objective (kdfeatures.distillation.summary) as text of at most 120 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from kdfeatures.distillation.objective import DEFAULT_TEACHER
from kdfeatures.mapping.diagram import maps_text
from kdfeatures.runs.results import markdown

WIDTH = 120
GAP = "  "
LEGEND = "Shapes: B texts, L tokens, D width, H heads, R relation heads, C classes. Layer 0 is the embeddings."


def report_text(report: Mapping[str, Any]) -> str:
    """Return what is known before training: what each term compares, how it counts, and the projections."""
    student = _model(report["student"])
    teacher = "stored outputs" if report["teacher"] is None else _model(report["teacher"])
    others = "".join(f", teacher {name} {_model(size)}" for name, size in report["others"].items())
    compared, counted = [], []
    for name, term in report["terms"].items():
        compared.append(
            {
                "term": name,
                "loss": _call(term),
                "layers, student<-teacher": _layers(term) + _teacher_text(term),
                "student": term["student"],
                "teacher": term["teacher"],
            }
        )
        over_pairs = f"; {term['over_pairs']} over pairs of layers" if len(term["layers"]) > 1 else ""
        counted.append(
            {
                "term": name,
                "weight": _weight(term),
                "averages": term["reduces"] + over_pairs,
                "counts": term["counts"],
                "temperature": term["temperature"] or "",
            }
        )
    head, foot = f"Student {student}, teacher {teacher}{others}.", _projections(report["projections"])
    depths = {name: size["layers"] for name, size in report["others"].items()}
    if report["teacher"] is not None:
        depths[DEFAULT_TEACHER] = report["teacher"]["layers"]
    maps = maps_text(report["terms"], report["student"]["layers"], depths)
    mixed = _mixup(report.get("mixup"))  # reports of earlier versions say nothing of it
    return "\n\n".join(filter(None, [head, aligned(compared), aligned(counted), mixed, maps, foot]))


def first_batch_text(found: Mapping[str, Any]) -> str:
    """Return the table of values and gradient norms of a first batch (kdfeatures.distillation.summary.first_batch)."""
    terms, total = found["terms"], found["total"]
    weighted = {name: term["weight"] * term["value"] for name, term in terms.items()}
    values, norms = sum(weighted.values()), sum(term["gradient"] for term in terms.values())
    rows = [
        {
            "term": name,
            "value": _number(term["value"]),
            "weight": _number(term["weight"]),
            "weighted": _number(weighted[name]),
            "of all": _percent(weighted[name], values),
            "gradient on student": _number(term["gradient"]),
            "of all norms": _percent(term["gradient"], norms),
            "on projections": _number(term["projections"]),
        }
        for name, term in terms.items()
    ]
    rows.append(
        dict.fromkeys(rows[0], "")
        | {
            "term": "total",
            "weighted": _number(total["value"]),
            "gradient on student": _number(total["gradient"]),
            "on projections": _number(total["projections"]),
        }
    )
    if not total["projections"]:
        for row in rows:
            del row["on projections"]
    head = (
        f"Batch of step {found['step']}: {found['texts']} texts, with padding {found['tokens']} tokens long. "
        "Gradients are those of weighted terms."
    )
    return f"{head}\n\n{markdown(rows)}"


def aligned(rows: Sequence[Mapping[str, str]], width: int = WIDTH) -> str:
    """Return rows with equal keys as a table of left-aligned columns; the widest are wrapped until it fits `width`.

    Columns that are empty in all rows are left out.
    """
    names = [name for name in rows[0] if any(row[name] for row in rows)]
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in names}
    while sum(widths.values()) + len(GAP) * (len(names) - 1) > width:
        widths[max(names, key=widths.__getitem__)] -= 1
    lines = []
    for row in ({name: name for name in names}, {name: "-" * widths[name] for name in names}, *rows):
        cells = [textwrap.wrap(row[name], widths[name]) or [""] for name in names]
        for n in range(max(map(len, cells))):
            line = [cell[n] if n < len(cell) else "" for cell in cells]
            padded = (text.ljust(widths[name]) for name, text in zip(names, line, strict=True))
            lines.append(GAP.join(padded).rstrip())
    return "\n".join(lines)


def _layers(term: Mapping[str, Any]) -> str:
    if term["map"] is None:
        return " ".join(f"{s}<-{t}" for s, t in term["layers"])
    sides = ([pair[side] for pair in term["layers"]] for side in (0, 1))
    return "<-".join(f"{min(layers)}..{max(layers)}" for layers in sides) + f" by {term['map'].partition(',')[0]}"


def _teacher_text(term: Mapping[str, Any]) -> str:
    return f" of {term['of']}" if term["layers"] and term["of"] != DEFAULT_TEACHER else ""


def _model(size: Mapping[str, int]) -> str:
    return f"{size['layers']} x {size['hidden_size']} with {size['heads']} heads"


def _call(term: Mapping[str, Any]) -> str:
    return ", ".join([term["loss"], *(f"{name}={_plain(value)}" for name, value in term["settings"].items())])


def _plain(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _weight(term: Mapping[str, Any]) -> str:
    weight = term["weight"] if isinstance(term["weight"], str) else f"{term['weight']:g}"
    return weight if term["share"] is None else f"{weight}, then balanced to share {term['share']:g}"


def _mixup(mixup: Mapping[str, Any] | None) -> str:
    if mixup is None:
        return ""
    weight = mixup["consistency"]
    weighed = weight if isinstance(weight, str) else f"{weight:g}"
    consistency = f"; weight of consistency with each of them alone {weighed}" if weight != 0 else ""
    return f"Texts are mixed two and two, alpha {mixup['alpha']:g}{consistency}."


def _projections(projections: Mapping[str, Any]) -> str:
    learned, frozen = projections["learned"], projections["frozen"]
    if not learned and not frozen:
        return "Projections: none, nothing is learned beside the student."
    parts = [f"Projections ({projections['kind']}):"]
    if learned:
        parts.append(f"{sum(learned.values()):,} learned parameters: {_sizes(learned)}.")
    if frozen:
        parts.append(f"{sum(frozen.values()):,} frozen numbers: {_sizes(frozen)}.")
    return textwrap.fill(" ".join(parts), WIDTH)


def _sizes(sizes: Mapping[str, int]) -> str:
    if len(set(sizes.values())) > 1 or len(sizes) == 1:
        return ", ".join(f"{name} {size:,}" for name, size in sizes.items())
    return f"{', '.join(sizes)}, {next(iter(sizes.values())):,} each"


def _number(value: float) -> str:
    return f"{value:.4g}"


def _percent(value: float, whole: float) -> str:
    return f"{100 * value / whole:.1f}%" if whole else ""
