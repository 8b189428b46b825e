"""A small grid on generated tasks, from teachers to tables: finished once, gone on with, told where it broke."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from support.browser import chromium
from support.screens import NAMES, SCREENS, check_screen
from support.small_tasks import smaller_tasks

from kdfeatures.benchmark.grid_run import RUN, GridRun
from kdfeatures.cli.main import main

__all__ = ["smaller_tasks"]

SHORT = ["student.layers=1", "student.init=random", "trainer.max_steps=4", "trainer.disable_tqdm=true",
         "trainer.eval_strategy=no", "trainer.save_strategy=no", "data.train_examples=128", "teacher.force=true",
         "data.max_length=32",
         "finetune=['model.layers=2','model.hidden_size=32','trainer.max_steps=4','trainer.disable_tqdm=true',"
         "'trainer.save_strategy=no']"]  # fmt: skip

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grid")
    command = ["glue", "task=agreement", "recipe=tinybert_joint", "seed=1,2", "learning_rates=[1e-3,3e-3]",
               "controls=[hard,permuted]", "resamples=50", f"output_dir={folder}", *SHORT]  # fmt: skip
    main(command)
    return folder, command


def results(folder):
    return {str(path.parent.relative_to(folder)): json.loads(path.read_text()) for path in folder.rglob("results.json")}


def of_csv(folder, metric="score"):
    """Return the lines of table.csv on the task and this metric, by arm."""
    with (folder / "table.csv").open(encoding="utf-8") as stream:
        return {
            row["arm"]: row for row in csv.DictReader(stream) if row["task"] == "agreement" and row["metric"] == metric
        }


def test_every_arm_tries_each_rate_on_held_out_examples_and_runs_all_seeds_with_the_best(grid):
    folder, _ = grid
    found = results(folder)
    trials = {name: run for name, run in found.items() if name.startswith("trials") and "/teacher" not in name}
    runs = {name: run for name, run in found.items() if name.startswith("runs")}
    assert len(trials) == 3 * 2 and len(runs) == 3 * 2
    assert {run["split"] for run in trials.values()} == {"selection"}
    assert {run["split"] for run in runs.values()} == {"validation"}
    assert {run["train_examples"] for run in found.values() if "train_examples" in run} == {128}
    for arm in ("hard", "tinybert_joint", "tinybert_joint_other_texts"):
        by_rate = {
            name.split("/")[3]: run["student"]["metrics"]["selection"]["accuracy"]
            for name, run in trials.items()
            if f"/{arm}/" in name
        }
        chosen = {name.split("/")[3] for name in runs if f"/{arm}/" in name}
        assert len(chosen) == 1 and by_rate[chosen.pop()] == max(by_rate.values())


def test_the_tables_are_those_of_the_runs(grid):
    folder, _ = grid
    table = (folder / "table.md").read_text()
    runs = [run for name, run in results(folder).items() if name.startswith("runs") and "/hard/" in name]
    mean = sum(100 * run["student"]["metrics"]["validation"]["accuracy"] for run in runs) / 2
    (line,) = [line for line in table.splitlines() if line.startswith("| hard ")]
    assert line.split("|")[2].strip().startswith(f"{mean:.1f} ± ")
    rows = of_csv(folder)
    assert list(rows) == ["hard", "tinybert_joint, other texts", "tinybert_joint", "teacher"]
    assert float(rows["hard"]["mean"]) == pytest.approx(mean / 100, abs=1e-6)
    assert {rows[arm]["trials"] for arm in list(rows)[:3]} == {rows[arm]["seeds"] for arm in list(rows)[:3]} == {"2"}
    assert (folder / "plot.png").stat().st_size > 1000
    whole = json.loads((folder / "results.json").read_text())
    assert [row["arm"] for row in whole["rows"]] == list(rows)[:3]


@pytest.mark.parametrize(("width", "height", "dark"), SCREENS, ids=NAMES)
def test_the_page_has_the_tables_gains_and_curves_and_fits_every_screen(grid, width, height, dark):
    folder, _ = grid
    rows = of_csv(folder)
    with chromium() as page:
        page.open(folder / "report.html", width=width, height=height, dark=dark)
        check_screen(page, dark=dark)
        tables = page.run("""[...document.querySelectorAll('table')].map((table) => [...table.tBodies[0].rows].map(
            (row) => [...row.cells].map((cell) => cell.textContent)))""")
        assert [row[0] for row in tables[0]] == ["teacher", "hard", "tinybert_joint, other texts", "tinybert_joint"]
        for line in tables[1]:
            assert line[2].startswith(f"accuracy {100 * float(rows[line[1]]['mean']):.1f} ± ")
        names = page.run("[...document.querySelectorAll('.intervals .who')].map((name) => name.textContent)")
        assert set(names) == {"tinybert_joint, other texts", "tinybert_joint", ""}
        assert "over hard" in page.run("document.querySelector('.intervals').textContent")
        terms = page.run("[...document.querySelectorAll('.curve figcaption')].map((title) => title.textContent)")
        assert set(terms) == {"labels", "logits", "hidden", "attention"}  # so short a run logs its last step alone
        links = page.run("[...document.querySelectorAll('a')].map((a) => decodeURIComponent(new URL(a.href).pathname))")
        assert len(links) == 3 * 2 and all((Path(link) / "results.json").exists() for link in links)


@pytest.fixture
def ran(monkeypatch):
    """The folders of the runs that are begun."""
    begun = []
    run = GridRun._run
    monkeypatch.setattr(GridRun, "_run", lambda cell: (begun.append(cell.folder), run(cell)))
    return begun


def test_a_finished_grid_runs_nothing_again(grid, ran):
    folder, command = grid
    before = (folder / "table.md").read_text()
    main(command)
    assert ran == [] and (folder / "table.md").read_text() == before


def test_a_run_that_breaks_off_is_named_costs_no_other_and_lost_runs_come_back_with_the_same_numbers(
    grid, ran, monkeypatch, capsys
):
    folder, command = grid
    before = (folder / "table.md").read_text()
    (broken,) = folder.glob("runs/agreement/hard/*/seed-1")
    (lost,) = folder.glob("runs/agreement/tinybert_joint/*/seed-2")
    for one in (broken, lost):
        shutil.rmtree(one)
    run = RUN["distill"]

    def break_off(cfg, output_dir):
        if output_dir == broken:
            raise MemoryError("no room")
        return run(cfg, output_dir)

    with monkeypatch.context() as patched:
        patched.setitem(RUN, "distill", break_off)
        with pytest.raises(SystemExit, match="2"):
            main(command)
    told = capsys.readouterr()
    assert (
        f"1 of 12 runs broke off; error.txt in each folder says why, and the next call tries them again: {broken}"
        in told.err
    )
    assert "failed (MemoryError: no room)" in told.out
    assert "[11/12] agreement, tinybert_joint, seed 2" in told.out
    assert ran == [broken, lost] and (lost / "results.json").exists()
    assert "hard" in (folder / "table.md").read_text()
    ran.clear()
    main(command)
    assert ran == [broken] and "[12/12] agreement, hard, seed 1" in capsys.readouterr().out
    assert (broken / "results.json").exists() and not (broken / "error.txt").exists()
    # but for how long it took
    kept = [line.rsplit("|", 2)[0] for line in before.splitlines()]
    assert [line.rsplit("|", 2)[0] for line in (folder / "table.md").read_text().splitlines()] == kept


@pytest.mark.usefixtures("operators_once")
def test_exports_join_the_table_and_their_costs_stand_beside_teacher_and_student(grid):
    pytest.importorskip("onnxruntime")
    folder, command = grid
    main([*command, "seed=1", "controls=[hard]", "export=true"])
    (export,) = folder.glob("runs/agreement/tinybert_joint/*/seed-1/export")
    formats = json.loads((export / "results.json").read_text())["formats"]
    rows = of_csv(folder)
    assert list(rows) == ["hard", "tinybert_joint", "tinybert_joint, onnx", "tinybert_joint, int8", "teacher"]
    for form in ("onnx", "int8"):
        assert float(rows[f"tinybert_joint, {form}"]["mean"]) == pytest.approx(
            formats[form]["metrics"]["validation"]["accuracy"], abs=1e-6
        )
        told = f"{100 * formats[form]['difference']['validation'][0]:+.1f} to its student"
        assert told in next(
            line for line in (folder / "table.md").read_text().splitlines() if f"joint, {form} | acc" in line
        )
    costs = json.loads((folder / "costs.json").read_text())["models"]
    assert list(costs) == ["teacher", "student", "student, onnx", "student, int8"]
    assert costs["student"]["flops"] < costs["teacher"]["flops"]


def test_a_grid_is_not_gone_on_with_by_other_settings(grid, capsys):
    _, command = grid
    with pytest.raises(SystemExit, match="2"):
        main([*command, "trainer.max_steps=5"])
    assert "was begun with trainer.max_steps=4, but now it is 5; choose another output_dir" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["existing=overwrite"], "existing=overwrite: a grid goes on where it was"),
        (["-m", "seed=1,2"], "kdfeatures glue is a sweep by itself, such as seed=1,2,3; leave out -m."),
        (["data.path=nowhere"], "task 'agreement' is generated; leave out data.path='nowhere'"),
    ],
)
def test_what_cannot_be_is_one_line_before_anything_runs(tmp_path, more, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["glue", *more, "task=agreement", f"output_dir={tmp_path}"])
    assert message in capsys.readouterr().err and not list(tmp_path.rglob("results.json"))
