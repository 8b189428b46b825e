"""Students of fewer layers cut from every family, held against the teacher with its other layers taken out."""

import copy

import pytest
import torch
from support.shared_data import glue_task
from support.tiny import decided, tiny_batch, tiny_classifier, tiny_config
from transformers import AutoModelForSequenceClassification

from kdfeatures.capture.context import capture
from kdfeatures.capture.families import FAMILIES, encoder_of
from kdfeatures.errors import ConfigError
from kdfeatures.models.students import StudentSpec, build_student, planned_config, start_measured

TASK = glue_task("rte")
CUT = [name for name in FAMILIES if name != "funnel"]
DEPTH = 6


def teacher_of(family, **more):
    torch.manual_seed(0)
    return decided(tiny_classifier(family, layers=DEPTH, **more)).eval()


def seen(model, layers):
    torch.manual_seed(1)
    with capture(model, hidden=["final", *layers]) as features, torch.no_grad():
        logits = model(**tiny_batch((9, 5, 7))).logits
    real = tiny_batch((9, 5, 7))["attention_mask"].bool()
    return [logits, *(features.hidden[layer][real] for layer in ("final", *layers))]


def without(teacher, kept):
    """Return a copy of the teacher whose layer list holds these layers only, from 1, by hand."""
    cut = copy.deepcopy(teacher)
    layers = encoder_of(cut).layers
    for module in cut.modules():
        for name, inner in list(module._modules.items()):
            if isinstance(inner, torch.nn.ModuleList) and len(inner) == len(layers) and inner[0] is layers[0]:
                module._modules[name] = torch.nn.ModuleList([inner[n - 1] for n in kept])
    cut.config.num_hidden_layers = len(kept)
    for module in cut.modules():  # models that count by their own config
        if hasattr(module, "config") and hasattr(module.config, "layer_types") and module.config.layer_types:
            if len(module.config.layer_types) == DEPTH:
                module.config.layer_types = [module.config.layer_types[n - 1] for n in kept]
    return cut


@pytest.mark.parametrize("family", CUT)
def test_a_student_of_all_layers_is_the_teacher_bit_by_bit(family):
    teacher = teacher_of(family)
    student = build_student(StudentSpec(layers=DEPTH), teacher, [0, 1], TASK).eval()
    own = seen(student, range(DEPTH + 1))
    for ours, its in zip(own, seen(teacher, range(DEPTH + 1)), strict=True):
        assert torch.equal(ours, its)


@pytest.mark.parametrize("kept", [[1, 2], [1, 4, 6], [1, 2, 3, 4, 5]], ids=str)
@pytest.mark.parametrize("family", [name for name in CUT if name != "albert"])
def test_a_student_of_some_layers_is_the_teacher_without_the_others(family, kept, tmp_path):
    teacher = teacher_of(family)
    student = build_student(StudentSpec(layers_from=kept), teacher, [0, 1], TASK).eval()
    expected = seen(without(teacher, kept), [0, len(kept)])
    for ours, its in zip(seen(student, [0, len(kept)]), expected, strict=True):
        torch.testing.assert_close(ours, its, atol=0, rtol=0)
    student.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert torch.equal(seen(loaded, [])[0], expected[0])


def test_an_albert_repeats_its_one_layer_less_often():
    teacher = teacher_of("albert")
    student = build_student(StudentSpec(layers=2), teacher, [0, 1], TASK).eval()
    assert torch.equal(seen(student, [2])[2], seen(teacher, [2])[2])


@pytest.mark.parametrize("family", ["modernbert", "eurobert"])
def test_a_layer_keeps_its_type(family):
    config = tiny_config(family, layers=DEPTH)
    made = planned_config(StudentSpec(layers_from=[1, 3, 4]), config, TASK)
    types = getattr(config, "layer_types", None)
    assert getattr(made, "layer_types", None) == (types and [types[0], types[2], types[3]])


@pytest.mark.parametrize(
    ("family", "spec", "told"),
    [
        ("funnel", {}, "its layers form blocks between which tokens are pooled"),
        ("albert", {"more": {"num_hidden_groups": 2}}, "its 2 groups of 1 layers are spread anew over another depth"),
        ("modernbert", {"layers_from": [2, 4]}, "must begin with layer 1, and hold it once"),
        ("modernbert", {"layers_from": [1, 1]}, "must begin with layer 1, and hold it once"),
        ("modernbert", {"layers_by": "importance"}, "whose layers are of several types"),
        ("esm", {"hidden_size": 12}, "students of a 'esm' keep its widths"),
        ("deberta-v2", {"heads": 2, "init": "random"}, "is not the teacher's 4"),
        ("bert", {"layers_by": "lowest"}, "is unknown; did you mean 'lower'?"),
        ("bert", {"layers_by": "lower", "layers_from": [1, 2]}, "names already"),
        ("bert", {"layers_by": "lower", "init": "random"}, "init=random copies none"),
        ("bert", {"layers_by": "upper", "layers": 7}, "the student has 7 and the teacher 6"),
        ("bert", {"layers_by": "importance", "init_examples": 3}, "must be at least 4"),
    ],
)
def test_what_cannot_be_cut_is_told_before_weights_are_loaded(family, spec, told):
    given = dict(spec)
    config = tiny_config(family, layers=DEPTH, **given.pop("more", {}))
    with pytest.raises(ConfigError, match=told):
        planned_config(StudentSpec(**given), config, TASK)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [(None, [2, 4, 6]), ("uniform", [2, 4, 6]), ("lower", [1, 2, 3]), ("upper", [4, 5, 6]), ("alternating", [1, 3, 5])],
)
def test_named_starts_copy_these_layers(rule, expected):
    teacher = teacher_of("bert")
    student = build_student(StudentSpec(layers=3, layers_by=rule), teacher, [0, 1], TASK)
    for layer, number in zip(encoder_of(student).layers, expected, strict=True):
        own, its = layer.state_dict(), encoder_of(teacher).layers[number - 1].state_dict()
        assert all(torch.equal(own[name], its[name]) for name in its)


def test_the_layers_that_change_most_are_kept_where_importance_says_so():
    teacher = teacher_of("bert")
    layers = encoder_of(teacher).layers
    for number in (2, 3, 5):  # these pass on what they are given
        for module in (layers[number - 1].attention.output, layers[number - 1].output):
            torch.nn.init.zeros_(module.dense.weight)
            torch.nn.init.zeros_(module.dense.bias)
    spec = StudentSpec(layers=3, layers_by="importance")
    student = build_student(spec, teacher, [0, 1], TASK)
    batches = [tiny_batch((9, 5, 7)), tiny_batch((6, 8))]
    assert start_measured(spec, student, teacher, [0, 1], batches) == [1, 4, 6]
    for layer, number in zip(encoder_of(student).layers, (1, 4, 6), strict=True):
        own, its = layer.state_dict(), layers[number - 1].state_dict()
        assert all(torch.equal(own[name], its[name]) for name in its)


def test_influence_is_one_less_the_cosine_over_real_tokens():
    from kdfeatures.models.pruning.layer_choice import layer_influence

    teacher, batch = teacher_of("bert"), tiny_batch((9, 5, 7))
    with torch.no_grad():
        hidden = teacher(**batch, output_hidden_states=True).hidden_states
    expected = []
    for before, after in zip(hidden, hidden[1:], strict=False):
        cosines = [
            (before[b, t] @ after[b, t] / before[b, t].norm() / after[b, t].norm()).item()
            for b, length in enumerate((9, 5, 7)) for t in range(length)
        ]  # fmt: skip
        expected.append(1 - sum(cosines) / len(cosines))
    torch.testing.assert_close(layer_influence(teacher, [batch]), torch.tensor(expected).double(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("init", ["teacher", "random"])
@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "electra", "modernbert", "deberta-v2"])
def test_a_frozen_head_is_the_teachers_with_its_classes_in_the_tasks_order(family, init):
    teacher = teacher_of(family)
    torch.manual_seed(5)
    student = build_student(StudentSpec(layers=2, init=init, freeze_head=True), teacher, [1, 0], TASK)
    frozen = {name for name, p in student.named_parameters() if not p.requires_grad}
    outside = {name for name, _ in student.named_parameters()} - {
        f"{student.base_model_prefix}.{name}"
        for name, _ in student.base_model.named_parameters()
        if "pooler" not in name
    }
    assert frozen == outside and frozen
    own = dict(student.named_parameters())
    for name, its in teacher.named_parameters():
        if name in frozen:
            expected = its[[1, 0]] if its.shape[0] == 2 else its
            assert torch.equal(own[name], expected), name


def test_a_head_of_another_width_or_of_no_model_is_refused():
    teacher = teacher_of("bert")
    with pytest.raises(
        ConfigError, match="its pooler.dense.weight is .24, 24. and the student's .12, 12.*teacher's width"
    ):
        build_student(StudentSpec(init="random", hidden_size=12, freeze_head=True), teacher, [0, 1], TASK)
