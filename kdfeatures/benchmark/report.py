"""The files that a grid writes: tables as its rows come, then costs, plot and results.json."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kdfeatures.benchmark.collect import means_of, rows_of
from kdfeatures.benchmark.grid_page import grid_page
from kdfeatures.benchmark.model_costs import costs_lines, costs_table, model_costs
from kdfeatures.benchmark.schedule import ArmSchedule
from kdfeatures.benchmark.settings import GridRunSettings
from kdfeatures.benchmark.tables import csv_text, details, summary
from kdfeatures.files import write_whole
from kdfeatures.runs.environment import versions
from kdfeatures.runs.plots import difference_plot
from kdfeatures.runs.reports.comparison_page import REPORT
from kdfeatures.runs.results import markdown

SHARE = 0.02  # of a grid's time that tables may take while it runs


class Report:
    """Writes table.md, table.csv and report.html while the runs come in, and all files once they are there."""

    def __init__(
        self, units: Sequence[ArmSchedule], settings: GridRunSettings, cfg: DictConfig, output_dir: Path
    ) -> None:
        self.units, self.settings, self.cfg, self.output_dir = units, settings, cfg, output_dir
        self._next = 0.0

    def update(self) -> None:
        """Write the tables of what there is, unless they were written a moment ago."""
        start = time.monotonic()
        if start >= self._next:
            self._tables(*self._collect())
            self._next = time.monotonic() + (time.monotonic() - start) / SHARE

    def finish(self) -> dict[str, Any] | None:
        """Write and print all, and return what results.json says of it; None where no run has finished."""
        rows, means = self._collect()
        if not rows:
            return None
        spent = self._costs()
        text = self._tables(rows, means, spent)
        self._plot(rows, means)
        print(f"\n{text}\n\nSaved in {self.output_dir}; open {REPORT} there in a browser.")
        return {
            "rows": [{name: value for name, value in row.items() if name != "drawn"} for row in rows],
            "means": means,
            "costs": spent,
            "versions": versions(),
            "devices": _devices(rows),
            "config": OmegaConf.to_container(self.cfg, resolve=True),
        }

    def _costs(self) -> dict[str, Any] | None:
        try:
            return model_costs(self.units, self.settings.grid.recipes[0], self.output_dir)
        except Exception as error:  # whatever it is, such as a teacher that was moved: the grid is finished
            print(f"\nThe models could not be timed: {type(error).__name__}: {error}")
            return None

    def _collect(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        grid = self.settings.grid
        rows = rows_of(self.units, baseline=grid.baseline, resamples=grid.resamples)
        return rows, means_of(rows)

    def _tables(
        self,
        rows: Sequence[Mapping[str, Any]],
        means: Sequence[Mapping[str, Any]],
        spent: Mapping[str, Any] | None = None,
    ) -> str:
        if not rows:
            return ""
        baseline, caption = self.settings.grid.baseline, self._caption(rows)
        parts = [summary(rows, means, baseline), caption, markdown(details(rows))]
        text = "\n\n".join([*parts, *([] if spent is None else [costs_table(spent)])])
        write_whole(self.output_dir / "table.md", text)
        costs = None if spent is None else costs_lines(spent)
        page = grid_page(self.units, rows, means, costs, baseline=baseline, caption=caption, folder=self.output_dir)
        write_whole(self.output_dir / REPORT, page)
        write_whole(self.output_dir / "table.csv", csv_text(rows, means, spent))
        return text

    def _plot(self, rows: Sequence[Mapping[str, Any]], means: Sequence[Mapping[str, Any]]) -> None:
        gains = [
            (row["task"], row["arm"], *(100 * row[name] for name in ("difference", "low", "high")))
            for row in [*rows, *({"task": "mean", **entry} for entry in means)]
            if row["difference"] is not None
        ]
        if not gains:
            return
        difference_plot(
            gains,
            f"gain over {self.settings.grid.baseline} (points), 95% interval",
            [self.output_dir / "plot.png", self.output_dir / "plot.svg"],
        )

    def _caption(self, rows: Sequence[Mapping[str, Any]]) -> str:
        grid = self.settings.grid
        rates = ", ".join(f"{rate:g}" for rate in grid.learning_rates)
        chosen = (
            f"Each arm tried the learning rates {rates} with seed {grid.seeds[0]}, scored on {100 * grid.held_out:g}% "
            "of the training examples; with the best it then took all."
            if len(grid.learning_rates) > 1
            else f"Learning rate {rates} for all arms."
        )
        has_seen = list(dict.fromkeys(unit.task for unit in self.units if unit.teacher_saw_trials))
        if has_seen:
            chosen += (
                f" The teachers of {', '.join(has_seen)} were trained on these examples too, which favours rates that "
                "change a copied student least (teacher.trial_root takes teachers that were not)."
            )
        partial = {row["task"]: row["partial"] for row in rows if row["partial"]}
        if partial:
            counts = "; ".join(
                f"{task} {', '.join(f'{count} examples of {split}' for split, count in splits.items())}"
                for task, splits in partial.items()
            )
            chosen += f" Not GLUE scores, because the data were not all there: {counts}."
        return (
            f"{self.cfg.split} scores in %, means over seeds {', '.join(map(str, grid.seeds))} ± standard deviation. "
            f"{chosen} Gains: paired bootstrap over examples and seeds. Minutes: the median run's, on "
            f"{', '.join(_devices(rows))}."
        )


def _devices(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return sorted({device for row in rows for device in row["devices"]})
