import math

import pytest
from support.composing import bound, plain
from support.tiny import tiny_config

from kdfeatures.distillation.summary import UNSAID, describe_objective, first_batch
from kdfeatures.runs.loss_tables import WIDTH, aligned, first_batch_text, report_text

TEACHER = tiny_config("bert", layers=12, width=48, heads=4)
STUDENT = tiny_config("bert", layers=4, width=24, heads=4)


def report(*overrides, student=STUDENT):
    objective, _ = bound(plain("distill", *overrides), student, TEACHER)
    return describe_objective(objective, student, TEACHER, 3)


def test_a_term_on_hidden_states_says_layers_shapes_and_projections():
    found = report("recipe=tinybert_joint")
    term = found["terms"]["hidden"]
    assert term["layers"] == [[0, 0], [1, 3], [2, 6], [3, 9], [4, 12]]
    assert (term["student"], term["teacher"]) == ("(B, L, 24) -> (B, L, 48)", "(B, L, 48)")
    assert (term["loss"], term["weight"], term["over_pairs"]) == ("HiddenMSE", 1.0, "sum")
    assert (term["reduces"], term["counts"], term["temperature"]) == ("mean over D, L, then B", "real tokens", None)
    learned = {f"linear.{s}_to_{t}": 24 * 48 + 48 for s, t in term["layers"]}
    assert found["projections"] == {"kind": "LinearProjections", "learned": learned, "frozen": {}}


def test_a_frozen_projection_is_the_teachers():
    found = report("recipe=hidden_joint", "projection=orthonormal")
    term = found["terms"]["hidden"]
    assert (term["student"], term["teacher"]) == ("(B, L, 24)", "(B, L, 48) -> (B, L, 24)")
    assert found["projections"]["learned"] == {} and found["projections"]["frozen"] == {"basis": 24 * 48}


def test_terms_on_attention_say_the_heads_that_are_compared_and_of_what():
    found = report(
        "recipe=minilmv2_joint", "losses.relations.relation_heads=12", "+loss@losses.scores=attention_score_mse"
    )
    relations, scores = found["terms"]["relations"], found["terms"]["scores"]
    assert relations["student"] == relations["teacher"] == "q k v (B, 12, L, L)"
    assert relations["settings"] == {"relation_heads": 12, "relations": ("query", "key", "value")}
    assert scores["student"] == scores["teacher"] == "q k (B, 4, L, L)"


def test_terms_on_outputs_have_classes_and_a_temperature():
    terms = report("recipe=logits", "losses.logits.temperature=4", "+loss@losses.soft=soft_cross_entropy")["terms"]
    assert (terms["logits"]["student"], terms["logits"]["teacher"]) == ("(B, 3)", "(B, 3)")
    assert (terms["labels"]["student"], terms["labels"]["teacher"]) == ("(B, 3)", "labels (B)")
    assert terms["logits"]["temperature"] == "T = 4, factor T^2"
    assert terms["soft"]["temperature"] == "T = 1, factor 1"
    assert terms["labels"]["temperature"] is None and terms["labels"]["over_pairs"] is None


def test_schedules_are_told_in_words():
    terms = report(
        "recipe=logits",
        "losses.logits.weight={schedule: linear, start: 1.0, end: 0.0}",
        "losses.labels.weight={schedule: list, values: [0.0, 0.5]}",
        "losses.logits.temperature={schedule: cosine, start: 4.0, end: 1.0}",
    )["terms"]
    assert terms["logits"]["weight"] == "1 to 0, linear" and terms["labels"]["weight"] == "0, 0.5 in turn"
    assert terms["logits"]["temperature"] == "T = 4 to 1, cosine, factor T^2"


def test_a_loss_that_says_nothing_of_itself_is_reported_all_the_same(monkeypatch):
    monkeypatch.delattr("kdfeatures.losses.HiddenMSE.reduction")
    assert report("recipe=hidden_joint")["terms"]["hidden"]["reduces"] == UNSAID


@pytest.mark.parametrize("recipe", ["hard", "pkd", "rkd", "minilm_joint", "tinybert_joint"])
@pytest.mark.parametrize("student", [STUDENT, TEACHER], ids=["narrow", "as deep as the teacher"])
def test_the_text_fits_the_width_and_has_every_term_and_pair(recipe, student):
    found = report(f"recipe={recipe}", "balance=shares", student=student)
    text = report_text(found)
    assert max(map(len, text.splitlines())) <= WIDTH
    words, starts = text.split(), [line.split("  ")[0] for line in text.splitlines()]
    for name, term in found["terms"].items():
        assert starts.count(name) == 2
        assert all(f"{s}<-{t}" in words for s, t in term["layers"])


def test_wrapped_cells_stay_in_their_columns():
    rows = [{"one": "a", "two": "some words that wrap", "none": ""}, {"one": "bcd", "two": "x", "none": ""}]
    assert aligned(rows, width=16).splitlines() == [
        "one  two",
        "---  -----------",
        "a    some words",
        "     that wrap",
        "bcd  x",
    ]


def batch_of(rows):
    objective, _ = bound(plain("distill", "recipe=logits", "losses.logits.weight=2"), STUDENT, TEACHER)
    return first_batch(objective, rows, step=1, shape=(8, 20))


def test_a_first_batch_has_values_unweighted_and_gradients_weighted():
    found = batch_of([[0.5, 3.0, 0.0], [1.0, 4.0, 0.25], [2.25, 6.0, 0.5]])
    assert found["terms"]["logits"] == {"value": 1.0, "weight": 2.0, "gradient": 8.0, "projections": 0.5}
    assert found["total"] == {"value": 2.25, "gradient": 6.0, "projections": 0.5}
    text = first_batch_text(found)
    assert "Batch of step 1: 8 texts, with padding 20 tokens long" in text
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()[2:]]
    cells = {name: row for name, *row in lines}
    assert cells["logits"] == ["1", "2", "2", "88.9%", "8", "84.2%", "0.5"]
    assert cells["total"] == ["", "", "2.25", "", "6", "", "0.5"]


def test_a_first_batch_without_gradients_or_projections_divides_by_nothing():
    text = first_batch_text(batch_of([[0.0, 0.0, 0.0], [math.nan, 0.0, 0.0], [math.nan, 0.0, 0.0]]))
    assert "on projections" not in text and "nan" in text


def test_several_teachers_and_stored_outputs_are_told_apart():
    other = tiny_config("bert", layers=6, width=32, heads=4)
    config = plain("distill", "recipe=tinybert_joint", "+teachers.b={path: x, weight: 3.0}", "losses.hidden.teacher=b")
    objective, _ = bound(config, STUDENT, TEACHER, others={"b": other})
    found = describe_objective(objective, STUDENT, TEACHER, 3, others={"b": other})
    assert found["others"] == {"b": {"layers": 6, "hidden_size": 32, "heads": 4, "share": 0.75}}
    assert (found["terms"]["hidden"]["of"], found["terms"]["attention"]["of"]) == ("b", "main")
    assert found["terms"]["hidden"]["teacher"] == "(B, L, 32)"
    text = report_text(found)
    assert "teacher b 6 x 32 with 4 heads" in text and " of b" in text
    objective, _ = bound(plain("distill", "recipe=logits"), STUDENT, None)
    stored = describe_objective(objective, STUDENT, None, 3)
    assert stored["teacher"] is None and "teacher stored outputs." in report_text(stored)
