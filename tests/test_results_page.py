"""The GLUE table of README and docs/results.md against the rows that the grid wrote."""

import csv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TASKS = {"CoLA": "cola", "MRPC": "mrpc", "STS-B": "stsb", "SST-2": "sst2", "RTE": "rte"}
# what an arm is called in the table, by its beginning, and in the rows
ARMS = {"`hard`": "hard", "`logits`": "logits", "`auto`": "hidden_joint", "relations": "relations"}


def measured():
    with (ROOT / "docs" / "glue-attention.csv").open(encoding="utf-8") as stream:
        return {(row["task"], row["arm"], row["metric"]): row for row in csv.DictReader(stream)}


def table_with(page, heading):
    """Return {row's name: {column: cell}} of a page's first table that has this in its header."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    start = next(n for n, line in enumerate(lines) if heading in line and line.startswith("|"))
    header, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines[start : lines.index("", start)]
    ]  # fmt: skip
    return {row[0]: dict(zip(header, row, strict=True)) for row in rows}


def percent(value):
    return f"{100 * float(value):.1f}"


def cell_of(rows, task, arm):
    metrics = [row for (of, name, metric), row in rows.items() if (of, name) == (task, arm) and metric != "score"]
    spread = percent(rows[task, arm, "score"]["std"])
    return f"{'/'.join(percent(row['mean']) for row in metrics)} ± {spread}"


@pytest.mark.parametrize(("page", "arms"), [("README.md", 3), ("docs/results.md", 4)])
def test_every_figure_is_that_of_the_grid(page, arms):
    rows, table = measured(), table_with(page, "gain over hard labels")
    assert len(table) == arms + 1  # and the teacher
    for name, cells in table.items():
        arm = next((known for start, known in ARMS.items() if name.startswith(start)), None)
        if arm is None:
            continue
        for task, key in TASKS.items():
            assert cells[task] == (cell_of(rows, key, arm) if (key, arm, "score") in rows else ""), (name, task)
        mean = rows.get(("mean", arm, "score"))
        assert cells["mean of 5"] == ("" if mean is None else percent(mean["mean"]))
        assert cells["retained"] == ("" if mean is None else f"{percent(mean['retained'])}%")
        gain = ""
        if mean is not None and mean["gain"]:
            gain, low, high = (f"{100 * float(mean[key]):+.1f}" for key in ("gain", "low", "high"))
            gain = f"{gain} [{low}, {high}]"
        assert cells["gain over hard labels"] == gain


@pytest.mark.parametrize("page", ["README.md", "docs/results.md"])
def test_the_teacher_is_what_the_shares_are_of(page):
    rows, teacher = measured(), table_with(page, "gain over hard labels")["teacher"]
    for task, key in TASKS.items():
        row = rows[key, "hard", "score"]
        score = 100 * float(row["mean"]) / float(row["retained"])
        parts = [float(part) for part in teacher[task].split("/")]
        assert sum(parts) / len(parts) == pytest.approx(score, abs=0.06)
    assert float(teacher["mean of 5"]) == pytest.approx(
        100 * float(rows["mean", "hard", "score"]["mean"]) / float(rows["mean", "hard", "score"]["retained"]), abs=0.06
    )


def test_what_was_tried_beside_it_is_that_of_its_rows():
    with (ROOT / "docs" / "glue-long.csv").open(encoding="utf-8") as stream:
        rows = {(row["task"], row["arm"], row["times_the_steps"]): row for row in csv.DictReader(stream)}
    arms = {
        "as in the table above": ("auto", "1"),
        "three times the steps": ("auto", "3"),
        "these, and copies": ("augmented", "3"),
        "these, after MNLI": ("mnli", "3"),
    }
    tables = table_with("docs/results.md", "`auto`, seed 1")
    assert list(tables) == list(arms)
    shown = 0
    for name, table in tables.items():
        of_tasks = {task: rows.get((key, *arms[name])) for task, key in TASKS.items()}
        for task, found in of_tasks.items():
            assert table[task] == ("" if found is None else percent(found["score"])), (name, task)
            shown += found is not None
        whole = None not in of_tasks.values()
        score, teacher = (
            sum(float(found[of]) for found in of_tasks.values()) / 5 if whole else 0.0 for of in ("score", "teacher")
        )
        assert table["mean of 5"] == (percent(score) if whole else "")
        assert table["retained"] == (f"{percent(score / teacher)}%" if whole else "")
    assert shown == len(rows)
