"""The page of a comparison: for each task a table, what differences are worth, the curves of its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from kdfeatures.pages import curves, intervals, tables
from kdfeatures.pages.intervals import gains_html
from kdfeatures.pages.shell import html_text, link, page_html
from kdfeatures.pages.tables import Cell, table_html
from kdfeatures.runs.arms import Arm
from kdfeatures.runs.differences import ArmDifference
from kdfeatures.runs.environment import versions
from kdfeatures.runs.reports.training_curves import curves_of_arms

STYLES = (tables.STYLE, intervals.STYLE, curves.STYLE)
SCRIPTS = (tables.SCRIPT, curves.SCRIPT)
REPORT = "report.html"


def comparison_page(
    rows: Sequence[ArmDifference], arms: Sequence[Arm], verdicts: Mapping[str, str], folder: Path
) -> str:
    """Return the page as it lies in `folder`. verdicts: a sentence for each task on what its differences are worth."""
    tasks = list(dict.fromkeys(row.task for row in rows))
    by_arm = {(arm.task, arm.name): arm for arm in arms}
    parts = []
    for task in tasks:
        of_task = [row for row in rows if row.task == task]
        parts.append(
            f"<section>\n<h2>{html_text(task)}</h2>\n<p>{html_text(verdicts[task])}</p>\n"
            f"{_table(of_task, by_arm, folder)}\n{_differences(of_task)}\n<h3>Training, term by term</h3>\n"
            f"{curves_of_arms(by_arm[task, row.arm] for row in of_task if (task, row.arm) in by_arm)}\n</section>"
        )
    baselines = dict.fromkeys(row.arm for row in rows if row.is_baseline)
    facts = {
        "tasks": ", ".join(tasks),
        "baseline": ", ".join(baselines),
        "runs": str(sum(len(arm.runs) for arm in arms)),
    }
    return page_html(
        "Runs side by side", "\n".join(parts), facts=facts, footer=footer(), styles=STYLES, scripts=SCRIPTS
    )


def seeds_cell(folders: Mapping[int, Path], count: int, page_folder: Path) -> Cell:
    """Return the seeds of an arm as links to the folders of its runs; without folders how many there are."""
    links = ", ".join(link(str(seed), path, page_folder) for seed, path in sorted(folders.items()))
    return Cell("" if folders else str(count), count, links)


def footer() -> str:
    """Return what the pages were made with."""
    return "kdfeatures {kdfeatures}, torch {torch}, transformers {transformers}.".format(**versions())


def _table(rows: Sequence[ArmDifference], by_arm: Mapping[tuple[str, str], Arm], folder: Path) -> str:
    metric = rows[0].metric
    lines: list[dict[str, str | Cell]] = []
    for row in rows:
        spread = f" ± {100 * row.std:.1f}" if row.std is not None else ""
        arm = by_arm.get((row.task, row.arm))
        interval = f"{100 * row.difference:+.1f} [{100 * row.low:+.1f}, {100 * row.high:+.1f}]"
        if row.shared_seeds != row.seeds:
            interval += f" over {row.shared_seeds} of the seeds"
        lines.append(
            {
                "arm": row.arm,
                metric: Cell(f"{100 * row.mean:.1f}{spread}", row.mean),
                "runs, by seed": seeds_cell({} if arm is None else arm.folders, row.seeds, folder),
                "retained": Cell("" if row.retained is None else f"{100 * row.retained:.1f}%", row.retained),
                "difference [95% interval]": Cell("baseline" if row.is_baseline else interval, row.difference),
            }
        )
    return table_html(lines, caption="Scores in %, mean ± standard deviation over seeds. A heading sorts the table.")


def _differences(rows: Sequence[ArmDifference]) -> str:
    baseline = next(row.arm for row in rows if row.is_baseline)
    gains = ((row.arm, row.difference, row.low, row.high) for row in rows if not row.is_baseline)
    return gains_html(gains, baseline, caption=f"Difference to {baseline} in points")
