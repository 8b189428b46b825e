"""The tables of a grid: arms by tasks, and every metric of every task."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from kdfeatures.benchmark.collect import GLUE
from kdfeatures.runs.results import markdown

Rows = Sequence[Mapping[str, Any]]
BASELINE = "baseline"  # in place of a gain


def summary(rows: Rows, means: Rows, baseline: str) -> str:
    """Return `summary_lines` as a table."""
    return markdown(summary_lines(rows, means, baseline))


def summary_lines(rows: Rows, means: Rows, baseline: str) -> list[dict[str, str]]:
    """Return a line for each arm, the teacher first, with its scores on all tasks and the mean over them."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    of_arm = {entry["arm"]: entry for entry in means}
    gain = f"gain over {baseline} [95% interval]"
    is_glue = set(tasks) - {"wnli"} == set(GLUE) and not any(row["partial"] for row in rows)
    name = "GLUE average" if is_glue else f"mean of {_task_count(tasks)}"
    teachers = {row["task"]: row["teacher_metrics"] for row in rows}
    first = {"arm": "teacher", **{task: _values(teachers[task]) for task in tasks}}
    first_entry = next(iter(of_arm.values()), None)
    lines = [
        first | {name: _percent(None if first_entry is None else first_entry["teacher"]), "retained": "", gain: ""}
    ]
    for arm in dict.fromkeys(row["arm"] for row in rows):
        rows_by_task = {row["task"]: row for row in rows if row["arm"] == arm}
        entry = of_arm.get(arm)
        line = {"arm": arm, **{task: _scores(rows_by_task.get(task)) for task in tasks}}
        line[name] = _with_spread(entry) if entry else ""
        line["retained"] = _share(entry)
        line[gain] = BASELINE if arm == baseline else _gain(entry)
        lines.append(line)
    return lines


def details(rows: Rows) -> list[dict[str, str]]:
    """Return a line for each task and arm, with all metrics and what its learning rate was chosen from."""
    lines = []
    for row in rows:
        metrics = "; ".join(f"{name} {_with_spread(figures)}" for name, figures in row["metrics"].items())
        lines.append(
            {
                "task": row["task"],
                "arm": row["arm"],
                "metrics": metrics,
                "retained": _share(row),
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


COLUMNS = (
    "task", "arm", "metric", "mean", "std", "seeds", "retained", "gain", "low", "high", "to_student", "learning_rate",
    "trials", "minutes",
)  # fmt: skip
SPREAD = ("mean", "low", "high")  # of a kdfeatures.evaluation.timing.Spread, whose middle is a median


def csv_text(rows: Rows, means: Rows, spent: Mapping[str, Any] | None = None) -> str:
    """Return all figures, a line for each task, arm and metric; those of teachers, the means and the costs behind.

    Scores are fractions. The metric `score` is the one that shares and gains are of: the mean of a task's metrics, and
    of MNLI's two parts. to_student: of an exported student, its score less that of the torch model. spent: what
    kdfeatures.benchmark.model_costs found; low and high are then the percentiles of its rounds, times in seconds.
    """
    lines = [line for row in rows for line in _of_row(row)]
    teachers = {row["task"]: row for row in reversed(rows) if row["teacher"] is not None}
    for task, row in teachers.items():
        of_task = {"task": task, "arm": "teacher"}
        lines.append(of_task | {"metric": "score", "mean": row["teacher"]})
        lines += [
            of_task | {"metric": name, "mean": figures["mean"]} for name, figures in row["teacher_metrics"].items()
        ]
    if means and means[0]["teacher"] is not None:
        lines.append({"task": "mean", "arm": "teacher", "metric": "score", "mean": means[0]["teacher"]})
    for entry in means:
        statistics = {name: entry[name] for name in ("arm", "mean", "std", "retained", "low", "high")}
        more = {"task": "mean", "metric": "score", "seeds": len(entry["seeds"]), "gain": entry["difference"]}
        lines.append(statistics | more)
    lines += [] if spent is None else _of_costs(spent["models"])
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _plain(value) for name, value in line.items()} for line in lines)
    return buffer.getvalue().rstrip("\n")


def _of_row(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    same = {name: row[name] for name in ("task", "arm", "learning_rate", "minutes")}
    same |= {"seeds": len(row["scores"]), "trials": row["trials"] or 1}
    statistics = {name: row[name] for name in ("mean", "std", "retained", "low", "high")}
    score = {"metric": "score", **statistics, "gain": row["difference"], "to_student": row.get("to_student")}
    return [same | score, *(same | {"metric": name, **figures} for name, figures in row["metrics"].items())]


def _of_costs(models: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    lines = []
    for name, costs in models.items():
        for metric, value in costs.items():
            statistics = {"mean": value} if not isinstance(value, Sequence) else dict(zip(SPREAD, value, strict=True))
            lines.append({"task": "costs", "arm": name, "metric": metric, **statistics})
    return lines


def _plain(value: Any) -> Any:
    return "" if value is None else round(value, 6) if isinstance(value, float) else value


def _scores(row: Mapping[str, Any] | None) -> str:
    """All metrics of a task as papers write them, 84.1/78.9, with the spread of their mean."""
    if row is None:
        return ""
    values = _values(row["metrics"])
    text = f"{values} ± {100 * row['std']:.1f}" if row["std"] is not None else values
    return text if len(row["scores"]) == row["seeds"] else f"{text} ({len(row['scores'])} of {row['seeds']} seeds)"


def _values(metrics: Mapping[str, Mapping[str, float]] | None) -> str:
    return "" if metrics is None else "/".join(f"{100 * figures['mean']:.1f}" for figures in metrics.values())


def _with_spread(figures: Mapping[str, Any]) -> str:
    return f"{100 * figures['mean']:.1f}" + (f" ± {100 * figures['std']:.1f}" if figures["std"] is not None else "")


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def _share(entry: Mapping[str, Any] | None) -> str:
    return "" if entry is None or entry["retained"] is None else f"{100 * entry['retained']:.1f}%"


def _gain(entry: Mapping[str, Any] | None) -> str:
    if entry is None or entry["difference"] is None:
        return ""
    return f"{100 * entry['difference']:+.1f} [{100 * entry['low']:+.1f}, {100 * entry['high']:+.1f}]"


def _task_count(tasks: Sequence[str]) -> str:
    count = len(set(tasks) - {"wnli"})
    return "1 task" if count == 1 else f"{count} tasks"
