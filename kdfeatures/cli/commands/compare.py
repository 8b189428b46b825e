"""kdfeatures compare: put the runs below a folder side by side, with what their differences are worth."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from kdfeatures.errors import UserError, nearest
from kdfeatures.runs.arms import Arm, find_arms
from kdfeatures.runs.differences import compared
from kdfeatures.runs.plots import difference_plot
from kdfeatures.runs.results import markdown


def run(cfg: DictConfig, output_dir: Path) -> dict[str, Any]:
    """Write comparison.md, .csv, .png and .svg over all runs below `runs`, a part for each task."""
    arms = find_arms(Path(cfg.runs))
    parts, rows = [], []
    for task in dict.fromkeys(arm.task for arm in arms):
        own = [arm for arm in arms if arm.task == task]
        baseline = _baseline(own, cfg.baseline)
        found = [compared(arm, baseline, resamples=cfg.resamples, seed=cfg.seed) for arm in own]
        parts.append(_text(task, found))
        rows += [{"task": task, **row} for row in found]
    output_dir.mkdir(parents=True, exist_ok=True)
    text = "\n\n".join(parts)
    (output_dir / "comparison.md").write_text(f"{text}\n", encoding="utf-8")
    with (output_dir / "comparison.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    difference_plot(
        [
            (row["task"], row["arm"], *(100 * row[name] for name in ("difference", "low", "high")))
            for row in [row for row in rows if not row["is_baseline"]] or rows
        ],
        "difference to the baseline (points), 95% interval",
        [output_dir / f"comparison.{ending}" for ending in ("png", "svg")],
    )
    print(f"\n{text}\n\nSaved in {output_dir}")
    return {"command": "compare", "rows": rows}


def _baseline(arms: Sequence[Arm], name: str | None) -> Arm:
    if name is None:
        return arms[0]
    names = [arm.name for arm in arms]
    value = name.rpartition("=")[2]  # mapping=last, as its folder is named, for the arm `last`
    fitting = [arm for arm in arms if arm.name in (name, value)] or [arm for arm in arms if name in arm.name]
    if len(fitting) != 1:
        what = "is no run of" if not fitting else f"fits {len(fitting)} of"
        raise UserError(f"baseline={name} {what} {', '.join(names)}{nearest(name, names)}")
    return fitting[0]


def _text(task: str, rows: Sequence[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        spread = f" ± {100 * row['std']:.1f}" if row["std"] is not None else ""
        interval = f"{100 * row['difference']:+.1f} [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]"
        lines.append(
            {
                "arm": row["arm"],
                row["metric"]: f"{100 * row['mean']:.1f}{spread}",
                "seeds": str(row["seeds"]),
                "retained": "" if row["retained"] is None else f"{100 * row['retained']:.1f}%",
                "difference [95% interval]": "baseline" if row["is_baseline"] else interval,
            }
        )
    return f"## {task}\n\n{markdown(lines)}\n\n{_verdict(rows)}"


def _verdict(rows: Sequence[dict[str, Any]]) -> str:
    """Say which arms differ from the baseline by more than their interval, or that none does."""
    baseline = next(row["arm"] for row in rows if row["is_baseline"])
    others = [row for row in rows if not row["is_baseline"]]
    if not others:
        return "There is one arm, so nothing to compare."
    better = [row["arm"] for row in others if row["low"] > 0]
    worse = [row["arm"] for row in others if row["high"] < 0]
    seeds = min(row["shared_seeds"] for row in rows)
    about = "examples and seeds were" if seeds > 1 else "examples were"
    end = f"Intervals: paired bootstrap, {about} drawn anew{'' if seeds > 1 else '; one seed says nothing of others'}."
    if len(others) > 1:
        end += (
            f" {len(others)} arms were compared: had they all been equal, {1 - 0.95 ** len(others):.0%} of such tables "
        )
        end += "would show a difference by chance."
    if not better and not worse:
        return f"No arm differs from {baseline} beyond noise. {end}"
    said = [f"better than {baseline}: {', '.join(better)}"] if better else []
    said += [f"worse: {', '.join(worse)}"] if worse else []
    rest = len(others) - len(better) - len(worse)
    said += [f"not told apart: {rest} of {len(others)}"] if rest else []
    return f"Beyond noise, {'; '.join(said)}. {end}"
