"""A small demo: its table is that of its runs, over seeds and examples."""

import json
import re
from statistics import mean, stdev

import numpy as np
import pytest
import torch

from kdfeatures.cli.commands import demo
from kdfeatures.cli.main import main
from kdfeatures.config.compose import quoted
from kdfeatures.data.synthetic import load
from kdfeatures.evaluation.bootstrap import seeds_bootstrap, seeds_interval
from kdfeatures.evaluation.metrics import accuracy

QUICK = "'data.train_examples=400','trainer.max_steps=3','trainer.disable_tqdm=true'"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "seed=1, it's"  # what an override must have in quotes
    threads, during = torch.get_num_threads(), []
    with pytest.MonkeyPatch.context() as patch:
        run = demo._run
        patch.setattr(demo, "_run", lambda *call: (during.append(torch.get_num_threads()), run(*call))[1])
        torch.set_num_threads(threads + 1)
        students = "'data.labelled=200','student.init=random','student.layers=1','teacher.force=true'"
        teacher = "'model.layers=2','model.hidden_size=32'"
        main(["demo", f"output_dir={quoted(str(folder))}", f"finetune=[{teacher},{QUICK}]",
              f"distill=[{students},{QUICK}]", "seeds=[1,4]", "split=validation", "processes=1",
              "threads=1"])  # fmt: skip
        after = torch.get_num_threads()
        torch.set_num_threads(threads)
    assert set(during) == {1} and after == threads + 1 and len(during) == 1 + 5 * 2
    return folder


def predictions(folder, name):
    return np.array([np.load(folder / name / f"seed-{seed}" / "logits.npz")["validation"].argmax(1) for seed in (1, 4)])


@pytest.mark.slow
def test_a_row_is_the_mean_over_seeds_its_spread_and_the_interval_over_both(made):
    labels = np.array(load("agreement")["validation"]["label"])
    rows = {line.split("|")[1].strip(): line for line in (made / "table.md").read_text().splitlines() if "|" in line}
    given = {name: predictions(made, name.replace(" ", "_")) for name in ("hard labels", "logits")}
    for name, answers in given.items():
        scores = [100 * accuracy(answers[n], labels) for n in (0, 1)]
        low, high = (100 * value for value in seeds_interval(accuracy, answers, labels))
        assert f"| {mean(scores):.1f} ± {stdev(scores):.1f} [{low:.1f}, {high:.1f}] |" in re.sub(" +", " ", rows[name])
    gain = [100 * value for value in seeds_bootstrap(accuracy, given["logits"], given["hard labels"], labels)]
    assert f"{gain[0]:+.1f} [{gain[1]:+.1f}, {gain[2]:+.1f}]" in rows["logits"]
    assert "±" not in rows["teacher"]
    runs = json.loads((made / "results.json").read_text())["runs"]
    assert len(runs) == 6 and list(runs.pop("teacher")) == ["1"]
    assert all(list(of_seeds) == ["1", "4"] for of_seeds in runs.values())
    assert runs["logits"]["4"]["seed"] == 4


@pytest.mark.parametrize("seeds", ["[]", "[1,1]"])
def test_seeds_that_say_nothing_are_refused(seeds, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main(["demo", f"seeds={seeds}", "output_dir=out"])
    assert "must name at least one, and none twice" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
