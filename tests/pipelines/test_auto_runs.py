"""Whole runs of recipe=auto: what is trained, kept and told are the terms that fit the models."""

import re

import pytest
from support.composing import compose

from kdfeatures.cli.main import main
from kdfeatures.config.load import distill_settings

NARROW = ["student.hidden_size=16", "student.heads=2", "student.init=random"]


@pytest.mark.parametrize(
    ("sizes", "terms"),
    [([], ["labels", "logits", "hidden", "attention"]), (NARROW, ["labels", "logits", "relations"])],
    ids=["alike", "unlike"],
)
def test_results_card_and_cache_have_the_terms_that_fit(workspace, tmp_path, capsys, sizes, terms):
    name = f"auto_{len(sizes)}"
    settings = [
        "recipe=auto",
        "student.layers=2",
        *sizes,
        "trainer.max_steps=2",
        "cache=auto",
        f"cache.path={tmp_path}",
    ]
    results = workspace.distil(name, *settings)
    assert f"recipe=auto has for models of these sizes the terms {', '.join(terms)}." in capsys.readouterr().out
    assert results["recipe"] == "auto" and list(results["config"]["losses"]) == terms
    card = (workspace.folder / name / "README.md").read_text()
    assert re.findall(r"^\| (labels|logits|hidden|attention|relations) +\|", card, re.M) == terms
    main(["cache", *workspace.task, f"teacher.path={workspace.teacher}", "recipe=auto", "student.layers=2", *sizes,
          f"cache.path={tmp_path}"])  # fmt: skip


def test_a_finished_run_is_known_again(workspace, capsys):
    settings = ["recipe=auto", "student.layers=2", "trainer.max_steps=2"]
    first = workspace.distil("auto_again", *settings)
    assert workspace.distil("auto_again", *settings, "existing=resume") == first
    with pytest.raises(SystemExit, match="2"):
        workspace.distil("auto_again", *settings, "existing=resume", "losses.attention.weight=2")
    assert "losses.attention.weight" in capsys.readouterr().err


def test_terms_of_its_own_are_refused_by_their_options(workspace, tmp_path, capsys):
    given = [*workspace.task, f"teacher.path={workspace.teacher}", f"output_dir={tmp_path / 'out'}", "recipe=auto"]
    with pytest.raises(SystemExit, match="2"):
        main(["distill", *given, "losses.atention.weight=2"])
    told = capsys.readouterr().err
    assert "losses.atention" in told and "attention" in told and told.count("\n") == 1


def test_a_record_can_be_composed_from_again(workspace, tmp_path):
    line = [*workspace.task, f"teacher.path={workspace.teacher}", "recipe=auto", "student.layers=2"]
    record = distill_settings(compose("distill", *line), tmp_path).record
    assert distill_settings(record, tmp_path).record == record
