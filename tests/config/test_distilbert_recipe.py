from support.composing import bound, plain
from transformers import BertConfig

from kdfeatures.config.load import task_of_stage
from kdfeatures.config.schema import section
from kdfeatures.models.students import StudentSpec, copied_layers, planned_config

BASE = ["output_dir=out", "task=text"]


def test_distilbert_is_its_three_terms_and_the_layers_of_the_official_code():
    config = plain("distill", "recipe=distilbert", *BASE)
    task, bert = task_of_stage(config), BertConfig()
    student = section(config, "student", StudentSpec)
    made = planned_config(student, bert, task)
    assert copied_layers(student, made.num_hidden_layers, bert) == [n + 1 for n in (0, 2, 4, 7, 9, 11)]
    objective, _ = bound(config, made, bert)
    assert objective.weights == {"logits": 5.0, "mlm": 2.0, "cosine": 1.0}
    assert objective.terms["logits"].loss.temperature == 2.0
    assert [tuple(pair) for pair in objective.terms["cosine"].pairs] == [(6, 12)]
    assert task.kind == "text"


def test_text_has_a_head_only_where_a_term_reads_outputs():
    kinds = {recipe: task_of_stage(plain("distill", f"recipe={recipe}", *BASE)).kind
             for recipe in ("tinybert_general", "logits", "hard", "distilbert", "tinybert_joint")}  # fmt: skip
    assert kinds == dict.fromkeys(kinds, "text") | {"tinybert_general": "plain_text"}


def test_other_tasks_are_what_they_say():
    config = plain("distill", "recipe=tinybert_general", "output_dir=out")
    assert task_of_stage(config).kind == config["task"]["kind"] == "sequence"
