import csv

import pytest
from support.shared_data import ROOT

from benchmarks import scale

PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")


def filed(name, *keys):
    """Return the rows of benchmarks/results/<name>.csv, the newest where `keys` agree."""
    with (ROOT / "benchmarks" / "results" / f"{name}.csv").open(encoding="utf-8") as stream:
        return list({tuple(row[key] for key in keys): row for row in csv.DictReader(stream)}.values())


def cells(start):
    line = next(line for line in PAGE.splitlines() if line.startswith(f"| {start} "))
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize("table", [scale.time_table, scale.cache_table, scale.memory_table])
def test_the_pages_arithmetic_follows_from_its_formulas(table):
    assert table() in PAGE


def test_the_page_names_what_the_arithmetic_assumes():
    for said in (
        f"{scale.TOKENS:.0e}".replace("+0", "") + " real tokens",
        f"sequences of {scale.LENGTH}",
        f"{scale.EPOCHS} epochs",
        f"{scale.PEAK / 1e12:.0f} TFLOP/s",
        f"{100 * scale.UTILISATION:.0f}% are reached",
        f"${scale.PRICE} a GPU hour",
        f"one node of {scale.GPUS} GPUs",
    ):
        assert said in PAGE, said


def test_a_forward_pass_costs_twice_the_layers_weights_and_attention():
    size = scale.Size(6, 768)
    embeddings = (scale.VOCABULARY + scale.POSITIONS) * 768
    assert size.forward == 2 * (size.parameters - embeddings) + 6 * 2 * 2 * scale.LENGTH * 768


def test_the_padding_shares_are_those_that_were_measured():
    rows = filed("padding", "task", "batches")
    for task in dict.fromkeys(row["task"] for row in rows):
        measured = [row for row in rows if row["task"] == task]
        expected = [task, measured[0]["mean_tokens"], *(f"{100 * float(row['padding']):.1f}%" for row in measured)]
        assert cells(task) == expected


def test_the_figures_of_two_processes_are_those_that_were_measured():
    for row in filed("processes", "variant", "batch"):
        ratios = [
            f"{float(row[f'{what}_ratio']):.2f} [{float(row[f'{what}_p20']):.2f}, {float(row[f'{what}_p80']):.2f}]"
            for what in ("time", "cpu")
        ]
        expected = [row["variant"], row["batch"], *ratios, row["examples_per_second"], row["peak_mib_a_process"]]
        assert f"| {' | '.join(expected)} |" in PAGE


def test_the_pages_table_of_how_a_step_grows_is_what_was_measured():
    for row in filed("growth", "case"):
        name = "nothing" if row["case"] == "again" else row["case"]
        if row["case"] != "16 x 64 tokens":  # the reference
            assert cells(name)[1:] == [f"{row['time']} [{row['p20']}, {row['p80']}]", row["operations"]], name


def test_the_pages_table_of_whole_jobs_is_what_was_measured():
    page = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
    rows = filed("whole_jobs", "job")
    assert len(rows) == 9
    for row in rows:
        memory, ratio = f"{int(row['mebibytes']):,}", row["ratio"].replace("1.00", "1")
        told = f"| {row['seconds']} | {ratio} | {row['training_seconds']} | {memory} | {row['score']} |"
        assert told in page, row["job"]


def test_the_pages_table_of_start_and_end_is_what_was_measured():
    page = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
    names = {"first run": "first run", "further run": "further runs on the same teacher"}
    rows = filed("outside", "variant")
    assert [row["variant"] for row in rows] == ["before", *names]
    assert f"| before | {rows[0]['seconds']} | 1 |" in page
    for row in rows[1:]:
        line = next(line for line in page.splitlines() if line.startswith(f"| {names[row['variant']]} |"))
        told = f"| {row['seconds']} | {row['ratio']} [{row['p20']}, {row['p80']}] |"
        assert line.replace("*", "").endswith(told), row["variant"]
