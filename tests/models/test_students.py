import pytest
import torch
from support.shared_data import glue_task
from support.tiny import tiny_batch, tiny_classifier, tiny_config

from kdfeatures.capture.families import FAMILIES, encoder_of, family_of
from kdfeatures.config.option_errors import option_line
from kdfeatures.data.synthetic import tokenizer
from kdfeatures.errors import UserError
from kdfeatures.models.students import StudentSpec, build_student, copied_layers, planned_config

RESIZABLE = [name for name, family in FAMILIES.items() if family.resizable]
RTE, STSB = glue_task("rte"), glue_task("stsb")  # entailment, not_entailment; a score


def trained(family="bert", *, layers=4, num_labels=2):
    """A teacher whose biases and norms are not the constants that every fresh model has."""
    model = tiny_classifier(family, layers=layers, num_labels=num_labels)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


def build(teacher, columns=(0, 1), task=RTE, **given):
    return build_student(StudentSpec(**given), teacher, list(columns), task).eval()


def refused(teacher=None, **given):
    with pytest.raises(UserError) as caught:
        build(teacher or tiny_classifier(layers=4), **given)
    told = option_line(caught.value)
    assert "\n" not in told
    return told


def equal(first, second):
    return all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize("family", RESIZABLE)
@pytest.mark.parametrize(
    ("given", "chosen"), [({"layers": 2}, [2, 4]), ({"layers": 3, "layers_from": [4, 1, 1]}, [4, 1, 1])]
)
def test_a_student_from_the_teacher_has_the_chosen_layers_and_no_others(family, given, chosen):
    teacher = trained(family)
    student = build(teacher, **given)
    theirs = encoder_of(teacher).layers
    for layer, source in zip(encoder_of(student).layers, chosen, strict=True):
        assert [n for n, candidate in enumerate(theirs, 1) if equal(layer, candidate)] == [source]


@pytest.mark.parametrize("family", RESIZABLE)
def test_a_student_from_the_teacher_has_its_embeddings_and_its_head(family):
    teacher = trained(family)
    student = build(teacher, layers=1)
    layers = family_of(teacher.config).layers
    theirs = teacher.state_dict()
    rest = {name: tensor for name, tensor in student.state_dict().items() if f"{layers}." not in name}
    assert any("embeddings" in name for name in rest) and any("classifier" in name for name in rest)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in rest.items())


@pytest.mark.parametrize("family", RESIZABLE)
@pytest.mark.parametrize("columns", [[0, 1], [1, 0]])
def test_a_copy_of_all_layers_answers_like_the_teacher_in_the_order_of_the_task(family, columns):
    teacher, batch = trained(family), tiny_batch()
    student = build(teacher, columns, layers=4)
    with torch.no_grad():
        torch.testing.assert_close(student(**batch).logits, teacher(**batch).logits[:, columns])
    assert student.config.id2label == {0: "entailment", 1: "not_entailment"}
    assert student.config.label2id == {"entailment": 0, "not_entailment": 1}


@pytest.mark.parametrize("columns", [[1, 2, 0], [2, 0, 1]])
def test_three_classes_are_put_into_the_order_of_the_task(columns):
    teacher, batch = trained(num_labels=3), tiny_batch()
    student = build(teacher, columns, glue_task("mnli"), layers=4)
    with torch.no_grad():
        torch.testing.assert_close(student(**batch).logits, teacher(**batch).logits[:, columns])


def test_copies_are_the_students_own():
    teacher = trained()
    before = [parameter.clone() for parameter in teacher.parameters()]
    student = build(teacher, [1, 0], layers=4)
    for parameter in student.parameters():
        torch.nn.init.zeros_(parameter)
    assert all(torch.equal(a, b) for a, b in zip(before, teacher.parameters(), strict=True))


def test_a_student_of_a_frozen_teacher_can_be_trained():
    student = build(trained().requires_grad_(False), layers=2)
    assert all(parameter.requires_grad for parameter in student.parameters())


def test_a_regression_student_has_one_output_copied_from_the_teacher():
    teacher, batch = trained(num_labels=1), tiny_batch()
    student = build(teacher, [0], STSB, layers=4)
    with torch.no_grad():
        torch.testing.assert_close(student(**batch).logits, teacher(**batch).logits)
    assert student.config.problem_type == "regression"


def test_copied_layers_are_spread_evenly_unless_named():
    config = tiny_config("bert", layers=12)
    assert copied_layers(StudentSpec(), 3, config) == [4, 8, 12]
    assert copied_layers(StudentSpec(layers_from=[1, 2, 12]), 3, config) == [1, 2, 12]


def test_a_student_has_half_of_the_layers_and_all_else_of_the_teacher_where_nothing_is_said():
    for init in ("teacher", "random"):
        made = build(trained(), init=init).config
        assert (made.num_hidden_layers, made.hidden_size, made.num_attention_heads) == (2, 24, 4)
        assert made.intermediate_size == 48


@pytest.mark.parametrize(("depth", "half"), [(1, 1), (2, 1), (3, 2), (4, 2), (12, 6)])
def test_half_of_the_layers_is_rounded_up(depth, half):
    planned = planned_config(StudentSpec(), tiny_config("bert", layers=depth), RTE)
    assert planned.num_hidden_layers == half


def test_layers_to_copy_say_how_many_there_are_to_be():
    assert len(encoder_of(build(trained(), layers_from=[4, 1, 2])).layers) == 3


@pytest.mark.parametrize("family", RESIZABLE)
def test_a_random_student_may_have_any_size(family):
    teacher = trained(family)
    student = build(teacher, init="random", layers=2, hidden_size=20, heads=5)
    made = student.config
    assert (made.num_hidden_layers, made.hidden_size, made.num_attention_heads) == (2, 20, 5)
    assert getattr(made, family_of(made).intermediate_size) == 80
    assert student(**tiny_batch()).logits.shape == (3, 2)
    assert made.model_type == teacher.config.model_type


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_the_feed_forward_width_can_be_named(family):
    made = build(trained(family), init="random", intermediate_size=36).config
    assert getattr(made, family_of(made).intermediate_size) == 36


def test_a_random_student_follows_torchs_seed_and_copies_nothing():
    teacher = trained()
    torch.manual_seed(1)
    first = build(teacher, init="random", layers=4)
    torch.manual_seed(1)
    again = build(teacher, init="random", layers=4)
    other = build(teacher, init="random", layers=4)
    assert equal(first, again) and not equal(first, other)
    assert not torch.equal(next(first.parameters()), next(teacher.parameters()))


def test_the_teacher_keeps_its_config():
    teacher = trained()
    before = teacher.config.to_dict()
    build(teacher, init="random", layers=2, hidden_size=20, heads=5)
    assert teacher.config.to_dict() == before


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"layers": 0}, "student.layers=0 must be at least 1"),
        ({"heads": -1}, "student.heads=-1 must be at least 1"),
        ({"hidden_size": 16, "heads": 3}, "student.hidden_size=16 is not a multiple of student.heads=3"),
        ({"heads": 5}, "student.hidden_size=24 is not a multiple of student.heads=5"),
        ({"hidden_size": 16}, "student.hidden_size=16 and the teacher has 24; use student.init=pruned for smaller"),
        ({"heads": 2}, "student.heads=2 and the teacher has 4; use student.init=pruned"),
        ({"intermediate_size": 36}, "student.intermediate_size=36 and the teacher has 48; use student.init=pruned"),
        ({"layers": 2, "layers_from": [1]}, "names 1 teacher layers, but the student has 2 layers"),
        ({"layers": 2, "layers_from": [1, 5]}, "names layer 5, but the teacher has layers 1 to 4"),
        ({"layers": 2, "layers_from": [0, 1]}, "names layer 0, but the teacher has layers 1 to 4"),
        ({"init": "random", "layers_from": [1, 2, 3, 4]}, "student.init=random copies none"),
        ({"init": "pca", "hidden_size": 16, "layers_from": [1]}, "student.init=pca copies none"),
        ({"init": "pca"}, "student.hidden_size=24 is not below the teacher's 24; choose a smaller one"),
        ({"init": "pruned", "hidden_size": 32}, "teacher's 24, so student.hidden_size=32 is too many; choose at most"),
        ({"init": "pruned", "init_examples": 3}, "student.init_examples=3 must be at least 4"),
        ({"init": "pruned", "layers": 2, "layers_from": [1, 5]}, "names layer 5, but the teacher has layers 1 to 4"),
        (
            {"init": "teachr"},
            "student.init=teachr is unknown; did you mean 'teacher'?; choose from teacher, pruned",
        ),
    ],
)
def test_sizes_that_do_not_fit_are_refused_by_value(given, told):
    assert told in refused(**given)


def test_a_family_that_cannot_be_pruned_is_refused_with_those_that_can():
    told = refused(tiny_classifier("roformer"), init="pruned")
    assert "student.init=pruned cuts bert, " in told
    assert "the teacher is a 'roformer'; use student.init=teacher, pca or random" in told


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("students") / "pretrained"
    model = trained(layers=2, num_labels=3)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder, model


def test_a_pretrained_student_keeps_its_encoder_and_gets_the_labels_of_the_task(saved):
    folder, model = saved
    student = build(trained(), path=str(folder))
    assert equal(student.base_model, model.base_model)
    assert student.config.id2label == {0: "entailment", 1: "not_entailment"}
    assert student.classifier.out_features == 2


@pytest.mark.parametrize("size", [{"layers": 2}, {"heads": 4}, {"layers_from": [1]}, {"intermediate_size": 8}])
def test_sizes_beside_a_pretrained_student_are_refused(saved, size):
    ((name, value),) = size.items()
    told = refused(path=str(saved[0]), **size)
    assert f"student.{name}={value} has no effect; set student.{name}=null" in told


def test_a_pretrained_student_that_is_not_there_is_refused():
    assert refused(path="./nowhere") == "student.path=./nowhere: no such folder."


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in RESIZABLE])
def test_a_family_whose_config_cannot_be_resized_is_refused(family):
    message = refused(tiny_classifier(family), layers=2, hidden_size=12)
    told = "' teacher: its layers form blocks" if family == "funnel" else "keep its widths"
    assert f"'{family}" in message and told in message and "path" in message
