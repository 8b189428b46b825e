"""All runs below a folder side by side, a table for each task, with what their differences are worth."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from kdfeatures.errors import UserError, nearest
from kdfeatures.files import write_whole
from kdfeatures.runs.arms import Arm, find_arms
from kdfeatures.runs.differences import ArmDifference, compare_arms
from kdfeatures.runs.plots import difference_plot
from kdfeatures.runs.reports.comparison_page import REPORT, comparison_page
from kdfeatures.runs.results import markdown

FILE = "comparison"


@dataclass(frozen=True)
class RunComparison:
    """The arms of every task, each against the baseline. Printed it is tables and what they say beyond noise.

    arms: the runs that the rows are of; without them the page of `write` has no links and no curves.
    """

    rows: tuple[ArmDifference, ...]
    arms: tuple[Arm, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        tasks = dict.fromkeys(row.task for row in self.rows)
        return "\n\n".join(_text(task, [row for row in self.rows if row.task == task]) for task in tasks)

    def plot(self, *paths: Path | str) -> None:
        """Draw the differences with their intervals, and save them in the form that each path ends with."""
        difference_plot(
            [
                (row.task, row.arm, 100 * row.difference, 100 * row.low, 100 * row.high)
                for row in [row for row in self.rows if not row.is_baseline] or self.rows
            ],
            "difference to the baseline (points), 95% interval",
            [Path(path) for path in paths],
        )

    def write(self, folder: Path) -> None:
        """Write comparison.md, .csv, .png, .svg and report.html, a page that needs no other file."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{FILE}.md").write_text(f"{self}\n", encoding="utf-8")
        rows = [asdict(row) for row in self.rows]
        with (folder / f"{FILE}.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        self.plot(folder / f"{FILE}.png", folder / f"{FILE}.svg")
        tasks = dict.fromkeys(row.task for row in self.rows)
        verdicts = {task: _verdict([row for row in self.rows if row.task == task]) for task in tasks}
        write_whole(folder / REPORT, comparison_page(self.rows, self.arms, verdicts, folder))


def compare_runs(
    folder: str | Path, baseline: str | None = None, *, resamples: int = 1000, seed: int = 1
) -> RunComparison:
    """Put the finished runs of distill and finetune below a folder side by side, as `kdfeatures compare` does.

    Args:
        folder: runs that differ in nothing but their seed are one arm.
        baseline: an arm's name, or a part of it that only one has; None is the first one.
        resamples: of the paired bootstrap over examples and seeds.
        seed: of the bootstrap.

    Raises:
        UserError: without a finished run, for a baseline that is none or several, and for arms that share no seed.
    """
    arms, rows = find_arms(Path(folder)), []
    for task in dict.fromkeys(arm.task for arm in arms):
        of_task = [arm for arm in arms if arm.task == task]
        against = _baseline(of_task, baseline)
        rows += [compare_arms(arm, against, resamples=resamples, seed=seed) for arm in of_task]
    return RunComparison(tuple(rows), tuple(arms))


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


def _text(task: str, rows: Sequence[ArmDifference]) -> str:
    lines = []
    for row in rows:
        spread = f" ± {100 * row.std:.1f}" if row.std is not None else ""
        interval = f"{100 * row.difference:+.1f} [{100 * row.low:+.1f}, {100 * row.high:+.1f}]"
        lines.append(
            {
                "arm": row.arm,
                row.metric: f"{100 * row.mean:.1f}{spread}",
                "seeds": seeds_of(row),
                "retained": "" if row.retained is None else f"{100 * row.retained:.1f}%",
                "difference [95% interval]": "baseline" if row.is_baseline else interval,
            }
        )
    return f"## {task}\n\n{markdown(lines)}\n\n{_verdict(rows)}"


def seeds_of(row: ArmDifference) -> str:
    """Return how many seeds an arm has, and of how many the difference is where those are fewer."""
    return str(row.seeds) if row.shared_seeds == row.seeds else f"{row.seeds} ({row.shared_seeds} compared)"


def _verdict(rows: Sequence[ArmDifference]) -> str:
    """Say which arms differ from the baseline by more than their interval, or that none does."""
    baseline = next(row.arm for row in rows if row.is_baseline)
    others = [row for row in rows if not row.is_baseline]
    if not others:
        return "There is one arm, so nothing to compare."
    better = [row.arm for row in others if row.low > 0]
    worse = [row.arm for row in others if row.high < 0]
    seeds = min(row.shared_seeds for row in rows)
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
