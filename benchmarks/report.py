"""The table and plot of docs/speed.md, from the newest rows in benchmarks/results.

python -m benchmarks.report          # writes them into docs/speed.md and docs/step.png
"""

from __future__ import annotations

import csv

from benchmarks.harness import RESULTS
from benchmarks.step import JOBS
from kdfeatures.runs.results import markdown

ROOT = RESULTS.parent.parent
PAGE, PLOT = ROOT / "docs" / "speed.md", ROOT / "docs" / "step.png"


def newest(name: str, *key: str) -> list[dict[str, str]]:
    """Return the last row for each value of the columns `key` in results/<name>.csv, in order of first appearance."""
    with (RESULTS / f"{name}.csv").open(newline="", encoding="utf-8") as stream:
        found = {tuple(row[column] for column in key): row for row in csv.DictReader(stream)}
    return list(found.values())


def step_rows() -> list[dict[str, str]]:
    """Return the newest rows of benchmarks.step in the order in which it lists jobs and variants."""
    order = [(job, variant) for job, variants in JOBS.items() for variant in variants]
    rows = newest("step", "job", "variant", "batch", "length")
    return sorted(rows, key=lambda row: order.index((row["job"], row["variant"])))


def step_table() -> str:
    """Return time and peak memory over the floor's, a line for each variant and a column for each shape."""
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for row in step_rows():
        line = lines.setdefault((row["job"], row["variant"]), {"job": row["job"], "variant": row["variant"]})
        shape = f"{row['batch']} x {row['length']}"
        line[f"time, {shape}"] = f"{float(row['time_ratio']):.2f} [{float(row['p20']):.2f}, {float(row['p80']):.2f}]"
        line[f"memory, {shape}"] = f"{float(row['memory_ratio']):.2f}"
    names = sorted(dict.fromkeys(name for line in lines.values() for name in line), key=_column)
    return markdown([{name: line.get(name, "") for name in names} for line in lines.values()])


def _column(name: str) -> tuple[bool, bool]:
    return name.startswith("memory"), name.startswith("time")


def with_table(text: str) -> str:
    """Return the page with the table between its marks made anew."""
    begin, end = "<!-- step table -->\n", "<!-- end -->"
    before, rest = text.split(begin)
    return f"{before}{begin}{step_table()}\n{end}{rest.split(end, 1)[1]}"


def plot() -> None:
    """Write docs/step.png: ratios over the floor by variant and shape."""
    from matplotlib.figure import Figure

    rows = [row for row in step_rows() if row["variant"] != "floor"]
    rows = [row for row in rows if row["job"] == rows[0]["job"]]
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    shapes = list(dict.fromkeys((row["batch"], row["length"]) for row in rows))
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.subplots(1, 2)
    for axis, column, title in zip(axes, ("time_ratio", "memory_ratio"), ("time", "peak memory"), strict=True):
        for number, variant in enumerate(variants):
            own = {(row["batch"], row["length"]): row for row in rows if row["variant"] == variant}
            places = [at + (number - (len(variants) - 1) / 2) * 0.8 / len(variants) for at in range(len(shapes))]
            heights = [float(own[shape][column]) for shape in shapes]
            axis.bar(places, heights, width=0.8 / len(variants), label=variant)
            if column == "time_ratio":
                spans = [(float(own[shape]["p20"]), float(own[shape]["p80"])) for shape in shapes]
                axis.vlines(places, *zip(*spans, strict=True), color="black", linewidth=1)
        axis.axhline(1, color="black", linewidth=0.8, linestyle="dashed")
        axis.set_xticks(range(len(shapes)), [f"{batch} x {length}" for batch, length in shapes])
        axis.set_xlabel("batch x tokens")
        axis.set_title(f"{title} of a step / floor")
    axes[1].legend(fontsize="small")
    figure.savefig(PLOT, dpi=110)


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    plot()
