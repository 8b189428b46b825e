"""A layer map as a small picture in text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kdfeatures.mapping.pairs import DEFAULT_TEACHER

COMPARED, CANDIDATE = "o", "."


def map_picture(
    pairs: Iterable[Sequence[int]],
    student_layers: int,
    teacher_layers: int,
    *,
    candidates: Iterable[Sequence[int]] = (),
    weights: Sequence[Sequence[float]] | None = None,
) -> str:
    """Return a line for each student layer, the last on top, and a column for each teacher layer; 0 is the embeddings.

    A pair is `o`, a candidate that is no pair `.`. weights: of a moving map, (M, N), from layer 1 on; its pairs are
    then digits, tenths, with `o` for one and `.` for none. Layers that are in no pair have an empty line or column.
    """
    marks = {(s, t): CANDIDATE for s, t in candidates} | {(s, t): COMPARED for s, t in pairs}
    if weights is not None:
        weighed = {(s, t): _tenth(w) for s, row in enumerate(weights, 1) for t, w in enumerate(row, 1)}
        marks |= {pair: tenth for pair, tenth in weighed.items() if pair in marks}
    lines = ["teacher   " + "".join(f"{t:3}" for t in range(teacher_layers + 1))]
    for s in range(student_layers, -1, -1):
        side = "student" if s == student_layers else ""
        cells = "".join(f"{marks.get((s, t), ''):>3}" for t in range(teacher_layers + 1))
        lines.append(f"{side:7}{s:3}{cells}".rstrip())
    return "\n".join(lines)


def maps_text(terms: Mapping[str, Mapping[str, Any]], student_layers: int, teacher_layers: Mapping[str, int]) -> str:
    """Return pictures of the maps of terms (`describe_layers` gives them); those with the same one share it.

    teacher_layers: N by teacher. Empty where no term compares layers.
    """
    drawn: dict[tuple[str, str], list[str]] = {}
    for name, term in terms.items():
        if term["layers"]:
            whose = "" if term["of"] == DEFAULT_TEACHER else f" of the teacher {term['of']}"
            title = f"{whose}: {term['map']}." if term["map"] else f"{whose}."
            depths = student_layers, teacher_layers[term["of"]]
            picture = map_picture(term["compared"], *depths, candidates=term["layers"])
            drawn.setdefault((title, picture), []).append(name)
    return "\n\n".join(
        f"Layers that {', '.join(names)} compare{'s' if len(names) == 1 else ''}{title}\n{picture}"
        for (title, picture), names in drawn.items()
    )


def _tenth(weight: float) -> str:
    tenths = round(10 * weight)
    return COMPARED if tenths >= 10 else str(tenths) if tenths else CANDIDATE
