"""TextBrewer's job in its own words and in ours: the two blocks of its page run, and are as short as it says."""

import ast
import re

import pytest
import torch
from datasets import Dataset
from support.pages import python_blocks
from support.shared_data import ROOT
from support.small_runs import TEXTS, bert_config, changed, snapshot
from transformers import BertForSequenceClassification

import kdfeatures as kd
from kdfeatures.data.synthetic import tokenizer

PAGE = ROOT / "docs" / "coming_from" / "textbrewer.md"
THEIRS, OURS = python_blocks(PAGE, "The same job in both")
WIDTHS = (16, 24)  # of student and teacher; the page has 312 and 768


def lines_of(block):
    """Return how many lines a block has, imports and blank lines not counted."""
    imports = {
        number
        for node in ast.walk(ast.parse(block))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for number in range(node.lineno, node.end_lineno + 1)
    }
    return sum(bool(line.strip()) and number not in imports for number, line in enumerate(block.splitlines(), 1))


@pytest.fixture
def names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # TextBrewer writes ./saved_models
    made = {
        name: BertForSequenceClassification(
            bert_config(layers, hidden_size=width, intermediate_size=32, attn_implementation="eager")
        )
        for name, layers, width in (("student", 4, WIDTHS[0]), ("teacher", 12, WIDTHS[1]))
    }
    train = Dataset.from_dict({**tokenizer()(TEXTS), "labels": [n % 2 for n in range(len(TEXTS))]})
    return {**made, "tokenizer": tokenizer(), "train": train}


def test_the_page_says_how_long_both_are():
    said = re.search(r"That is (\d+) lines and (\d+), imports not counted", PAGE.read_text(encoding="utf-8"))
    assert said is not None and (lines_of(THEIRS), lines_of(OURS)) == (int(said[1]), int(said[2]))
    assert lines_of(OURS) <= 12


def test_the_names_of_the_page_are_those_of_both():
    presets = pytest.importorskip("textbrewer.presets")
    page = PAGE.read_text(encoding="utf-8").partition("## Where things are")[2]
    theirs, ours = zip(*(row.split("|")[1:3] for row in page.splitlines() if row.startswith("| `")), strict=True)
    matched = set(
        re.findall(r'"(\w+)"', "".join(row for row in theirs if "proj" not in row and "_scheduler" not in row))
    )
    assert matched - {"ce", "mse", "loss"} <= set(presets.MATCH_LOSS_MAP) and {"hidden_mse", "nst", "fsp"} <= matched
    names = set(re.findall(r"`(?:kd\.)?([A-Z]\w*[a-z]\w*)", "".join(ours))) - {"TrainingArguments"}
    assert len(names) > 10 and [name for name in names if not hasattr(kd, name) and not hasattr(kd.losses, name)] == []


def test_both_match_the_same_layers():
    matches = re.findall(r'"layer_T": (\d+), "layer_S": (\d+), "feature": "(\w+)"', THEIRS)
    pairs = {"hidden": [], "attention": []}
    for teacher, student, feature in matches:
        first = 1 if feature == "attention" else 0  # TextBrewer counts attention from 0
        pairs[feature].append((int(student) + first, int(teacher) + first))
    assert pairs == {"hidden": [(0, 0), (2, 6), (4, 12)], "attention": [(2, 6), (4, 12)]}
    assert OURS.count(f"layers={pairs['hidden']}") == OURS.count(f"layers={pairs['attention']}") == 1


def test_ours_runs(names):
    before, of_teacher = snapshot(names["student"]), snapshot(names["teacher"])
    exec(OURS, names)
    assert changed(before, names["student"]) and not changed(of_teacher, names["teacher"])
    logged = {key for entry in names["trainer"].state.log_history for key in entry}
    assert {"loss/logits", "loss/hidden", "loss/attention"} <= logged
    assert len(list(names["trainer"].model.objective.projections.parameters())) == 2 * 3


def test_textbrewers_runs(names):
    pytest.importorskip("textbrewer")
    before, of_teacher = snapshot(names["student"]), snapshot(names["teacher"])
    assert "312, 768" in THEIRS
    exec(THEIRS.replace("312, 768", f"{WIDTHS[0]}, {WIDTHS[1]}"), names)
    assert changed(before, names["student"]) and not changed(of_teacher, names["teacher"])
    assert sum(projection is not None for projection in names["distiller"].projs) == 3


def test_both_give_hidden_states_and_logits_the_same_loss(names):
    """Without padding and dropout, and with the same projections; attention differs, as the page says."""
    pytest.importorskip("textbrewer")
    exec(OURS.replace("trainer.train()", ""), names)
    exec(THEIRS.partition("optimizer =")[0].replace("312, 768", f"{WIDTHS[0]}, {WIDTHS[1]}"), names)
    ours, theirs = names["trainer"].model, names["distiller"]
    maps = [projection for projection in theirs.projs if projection is not None]
    for linear, given in zip(maps, ours.objective.projections.linear.values(), strict=True):
        linear.load_state_dict(given.state_dict())
    batch = dict(tokenizer()([TEXTS[0]] * 2, return_tensors="pt"))
    of_both = {"output_hidden_states": True, "output_attentions": True}
    for module in ours.student.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    ours.train()(**batch)
    _, parts = theirs.train_on_batch(batch, of_both)
    hidden = sum(value for name, value in parts.items() if name.startswith("unweighted_hidden"))
    torch.testing.assert_close(ours.parts["hidden"], hidden)
    torch.testing.assert_close(ours.parts["logits"], parts["unweighted_kd_loss"])
