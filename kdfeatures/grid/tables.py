"""The tables of a grid: arms by tasks, and every metric of every task."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdfeatures.grid.collect import GLUE
from kdfeatures.results import markdown

Rows = Sequence[Mapping[str, Any]]


def summary(rows: Rows, means: Rows, baseline: str) -> str:
    """Return the table of arms (rows) by tasks, the teacher first, with the mean over tasks."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    of_arm = {entry["arm"]: entry for entry in means}
    gain = f"gain over {baseline} [95% interval]"
    name = "GLUE average" if set(tasks) - {"wnli"} == set(GLUE) else f"mean of {_counted(tasks)}"
    teachers = {row["task"]: row["teacher"] for row in rows}
    first = {"arm": "teacher", **{task: _percent(teachers[task]) for task in tasks}}
    some = next(iter(of_arm.values()), None)
    lines = [first | {name: _percent(some and some["teacher"]), "retained": "", gain: ""}]
    for arm in dict.fromkeys(row["arm"] for row in rows):
        own = {row["task"]: row for row in rows if row["arm"] == arm}
        entry = of_arm.get(arm)
        line = {"arm": arm, **{task: _scores(own.get(task)) for task in tasks}}
        line[name] = _with_spread(entry) if entry else ""
        line["retained"] = f"{100 * entry['retained']:.1f}%" if entry and entry["retained"] else ""
        line[gain] = "baseline" if arm == baseline else _gain(entry)
        lines.append(line)
    return markdown(lines)


def details(rows: Rows) -> list[dict[str, str]]:
    """Return a line for each task and arm, with all metrics and what its learning rate was chosen from."""
    lines = []
    for row in rows:
        metrics = "; ".join(f"{name} {_with_spread(found)}" for name, found in row["metrics"].items())
        lines.append(
            {
                "task": row["task"],
                "arm": row["arm"],
                "metrics": metrics,
                "retained": f"{100 * row['retained']:.1f}%" if row["retained"] else "",
                "gain [95% interval]": f"{100 * row['to_student']:+.1f} to its student"
                if "to_student" in row
                else _gain(row),
                "learning rate": f"{row['learning_rate']:g}",
                "trials": str(row["trials"] or 1),
                "seeds": str(len(row["scores"])),
                "minutes": f"{row['minutes']:.1f}",
            }
        )
    return lines


def write_csv(file: Path, lines: Rows) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, lines[0])
        writer.writeheader()
        writer.writerows(lines)


def _scores(row: Mapping[str, Any] | None) -> str:
    """All metrics of a task as papers write them, 84.1/78.9, with the spread of their mean."""
    if row is None:
        return ""
    values = "/".join(f"{100 * found['mean']:.1f}" for found in row["metrics"].values())
    return f"{values} ± {100 * row['std']:.1f}" if row["std"] is not None else values


def _with_spread(found: Mapping[str, Any]) -> str:
    return f"{100 * found['mean']:.1f}" + (f" ± {100 * found['std']:.1f}" if found["std"] is not None else "")


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def _gain(found: Mapping[str, Any] | None) -> str:
    if found is None or found["difference"] is None:
        return ""
    return f"{100 * found['difference']:+.1f} [{100 * found['low']:+.1f}, {100 * found['high']:+.1f}]"


def _counted(tasks: Sequence[str]) -> str:
    count = len(set(tasks) - {"wnli"})
    return "1 task" if count == 1 else f"{count} tasks"
