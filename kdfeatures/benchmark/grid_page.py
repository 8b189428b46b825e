"""The page of a grid: its tables, what gains are worth on each task, the curves of its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdfeatures.benchmark.collect import finished_arm
from kdfeatures.benchmark.schedule import ArmSchedule
from kdfeatures.benchmark.tables import BASELINE, Rows, details, summary_lines
from kdfeatures.pages.intervals import gains_html
from kdfeatures.pages.shell import html_text, page_html
from kdfeatures.pages.tables import Cell, table_html
from kdfeatures.runs.reports.comparison_page import SCRIPTS, STYLES, footer, seeds_cell
from kdfeatures.runs.reports.training_curves import curves_of_arms


def grid_page(
    units: Sequence[ArmSchedule],
    rows: Rows,
    means: Rows,
    costs: tuple[Sequence[Mapping[str, str]], str] | None,
    *,
    baseline: str,
    caption: str,
    folder: Path,
) -> str:
    """Return the page as it lies in `folder`.

    rows, means: as kdfeatures.benchmark.collect has them. costs: a table and a sentence on it. caption: how the scores
    came about.
    """
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    arms = {(unit.task, unit.arm): finished_arm(unit) for unit in units}
    facts = {
        "tasks": ", ".join(tasks),
        "arms": ", ".join(dict.fromkeys(row["arm"] for row in rows)),
        "baseline": baseline,
        "runs": f"{sum(len(arm.runs) for arm in arms.values())} of "
        f"{sum(len(next(iter(unit.runs.values()))) for unit in units)} finished, trials aside",
    }
    scores = [
        {name: Cell(text, 0.0) if text == BASELINE else text for name, text in line.items()}
        for line in summary_lines(rows, means, baseline)
    ]
    parts = [
        _section(
            "Arms by tasks", table_html(scores, caption=caption), _gains(means, baseline, "mean gain over the tasks")
        )
    ]
    for task in tasks:
        of_task = [row for row in rows if row["task"] == task]
        curves = curves_of_arms(arm for (name, _), arm in arms.items() if name == task and arm.runs)
        parts.append(
            _section(task, _gains(of_task, baseline, f"gain on {task}"), f"<h3>Training, term by term</h3>\n{curves}")
        )
    parts.append(_section("Every metric", _details(rows, arms, folder)))
    if costs is not None:
        parts.append(_section("What the models cost", table_html(costs[0], caption=costs[1])))
    return page_html(
        "Students on all tasks", "\n".join(parts), facts=facts, footer=footer(), styles=STYLES, scripts=SCRIPTS
    )


def _section(title: str, *parts: str) -> str:
    return "\n".join(["<section>", f"<h2>{html_text(title)}</h2>", *parts, "</section>"])


def _gains(entries: Rows, baseline: str, what: str) -> str:
    gains = (
        (entry["arm"], entry["difference"], entry["low"], entry["high"])
        for entry in entries
        if entry["difference"] is not None
    )
    return gains_html(gains, baseline, caption=f"The {what} in points over {baseline}")


def _details(rows: Rows, arms: Mapping[tuple[str, str], Any], folder: Path) -> str:
    lines: list[dict[str, str | Cell]] = []
    for row, line in zip(rows, details(rows), strict=True):
        arm = arms.get((row["task"], row["arm"]))  # an exported student is no arm of the grid
        score = Cell(line["metrics"], row["mean"])
        seeds = seeds_cell({} if arm is None else arm.folders, len(row["scores"]), folder)
        shown = {"runs, by seed" if name == "seeds" else name: text for name, text in line.items()}
        lines.append({**shown, "metrics": score, "runs, by seed": seeds})
    return table_html(lines, caption="Metrics in %, mean ± standard deviation over seeds. A heading sorts.", words=2)
