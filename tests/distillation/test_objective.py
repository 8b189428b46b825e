import pytest
import torch
from torch import nn

from kdfeatures.alignment.projections import LinearProjections, OrthonormalProjections
from kdfeatures.distillation.bound import BoundObjective
from kdfeatures.distillation.teacher_outputs import BatchOutputs
from kdfeatures.distillation.term import BoundTerm
from kdfeatures.features import AttentionStates, Features
from kdfeatures.losses import (
    AttentionScoreMSE,
    DecoupledKD,
    FlowMSE,
    HardLabel,
    HiddenMSE,
    LinearCKA,
    LogitKD,
    LogitMSE,
    RelationKL,
)
from kdfeatures.mapping.pairs import LayerPair

PAIRS = (LayerPair(0, 0), LayerPair(1, 2), LayerPair(2, 4))
MASK = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
LABELS = torch.tensor([2, 0])


def outputs(width, *, heads=2, layers=4, classes=3):
    features = Features()
    for n in range(layers + 1):
        features.hidden[n] = torch.randn(2, 5, width, requires_grad=True)
        if n:
            q, k, v = torch.randn(3, 2, heads, 5, width // heads)
            features.attention[n] = AttentionStates(q, k, v, 0.5)
    return BatchOutputs(torch.randn(2, classes, requires_grad=True), features)


def objective(terms, projections=None):
    return BoundObjective(terms, projections or LinearProjections(PAIRS, 8, 8, shared=False, bias=True, always=False))


def call(made, student, teacher):
    return made(student, teacher, LABELS, MASK)


def test_the_total_is_the_weighted_sum_and_the_parts_are_unweighted():
    student, teacher = outputs(8), outputs(8)
    terms = {
        "labels": BoundTerm(HardLabel(), 0.5),
        "logits": BoundTerm(LogitKD(temperature=2.0), 2.0),
        "hidden": BoundTerm(HiddenMSE(), 100.0, (LayerPair(1, 2),)),
    }
    total, parts = call(objective(terms), student, teacher)
    expected = {
        "labels": HardLabel()(student.logits, LABELS),
        "logits": LogitKD(temperature=2.0)(student.logits, teacher.logits),
        "hidden": HiddenMSE()(student.features.hidden[1], teacher.features.hidden[2], MASK),
    }
    for name, value in expected.items():
        torch.testing.assert_close(parts[name], value.detach())
    torch.testing.assert_close(total, 0.5 * expected["labels"] + 2.0 * expected["logits"] + 100.0 * expected["hidden"])


@pytest.mark.parametrize("pair_reduction", ["sum", "mean"])
@pytest.mark.parametrize("loss", [HiddenMSE(), AttentionScoreMSE()])
def test_pairs_are_summed_or_averaged(loss, pair_reduction):
    student, teacher = outputs(8), outputs(8)
    pairs = PAIRS[1:]
    values = []
    for pair in pairs:
        if loss.inputs == "hidden":
            operands = student.features.hidden[pair.student], teacher.features.hidden[pair.teacher]
        else:
            operands = student.features.attention[pair.student], teacher.features.attention[pair.teacher]
        values.append(loss(*operands, MASK).detach())
    _, parts = call(objective({"term": BoundTerm(loss, 1.0, pairs, pair_reduction)}), student, teacher)
    torch.testing.assert_close(parts["term"], sum(values) / (1 if pair_reduction == "sum" else len(pairs)))


def test_hidden_states_are_compared_after_projection_and_attention_without():
    student, teacher = outputs(8), outputs(12)
    projections = OrthonormalProjections(PAIRS, 8, 12, seed=0)
    terms = {
        "hidden": BoundTerm(HiddenMSE(), 1.0, (LayerPair(1, 2),)),
        "attention": BoundTerm(AttentionScoreMSE(), 1.0, (LayerPair(1, 2),)),
    }
    _, parts = call(objective(terms, projections), student, teacher)
    target = teacher.features.hidden[2] @ projections.basis
    torch.testing.assert_close(parts["hidden"], HiddenMSE()(student.features.hidden[1], target, MASK).detach())
    attention = AttentionScoreMSE()(student.features.attention[1], teacher.features.attention[2], MASK)
    torch.testing.assert_close(parts["attention"], attention)


def test_a_loss_that_does_not_project_sees_the_states_as_they_are():
    student, teacher = outputs(8), outputs(12)
    projections = LinearProjections(PAIRS[2:], 8, 12, shared=False, bias=True, always=False)
    terms = {"cka": BoundTerm(LinearCKA(), 1.0, PAIRS[1:], "mean"), "hidden": BoundTerm(HiddenMSE(), 1.0, PAIRS[2:])}
    _, parts = call(objective(terms, projections), student, teacher)
    values = [LinearCKA()(student.features.hidden[s], teacher.features.hidden[t], MASK) for s, t in PAIRS[1:]]
    torch.testing.assert_close(parts["cka"], torch.stack(values).mean().detach())


def test_a_flow_goes_from_each_mapped_pair_to_the_next():
    student, teacher = outputs(8), outputs(12)
    projections = LinearProjections(PAIRS, 8, 12, shared=False, bias=True, always=False)
    made = objective({"flow": BoundTerm(FlowMSE(), 1.0, PAIRS, "sum")}, projections)
    own = [projections(pair, student.features.hidden[pair.student], None)[0] for pair in PAIRS]
    theirs = [teacher.features.hidden[pair.teacher] for pair in PAIRS]
    values = [FlowMSE()(own[i : i + 2], theirs[i : i + 2], MASK) for i in (0, 1)]
    total, _ = call(made, student, teacher)
    torch.testing.assert_close(total, sum(values))
    leaves = [student.features.hidden[pair.student] for pair in PAIRS] + list(projections.parameters())
    torch.testing.assert_close(torch.autograd.grad(total, leaves), torch.autograd.grad(sum(values), leaves))
    assert made.layers("hidden", "student") == [0, 1, 2] and made.layers("hidden", "teacher") == [0, 2, 4]


def test_a_loss_on_logits_and_labels_gets_both_and_needs_teacher_labels_and_head():
    student, teacher = outputs(8), outputs(8)
    loss = DecoupledKD(temperature=2.0, target_weight=1.0, other_weight=8.0)
    made = objective({"decoupled": BoundTerm(loss, 1.0)})
    total, _ = call(made, student, teacher)
    torch.testing.assert_close(total, loss(student.logits, teacher.logits, LABELS))
    assert made.needs_teacher and made.needs_teacher_logits and made.needs_labels and made.reaches_the_head
    assert not objective({"logits": BoundTerm(LogitMSE(), 1.0)}).needs_labels


def test_gradients_reach_the_student_and_its_projections_through_the_total_alone():
    student, teacher = outputs(8), outputs(12)
    projections = LinearProjections(PAIRS, 8, 12, shared=False, bias=True, always=False)
    terms = {"logits": BoundTerm(LogitMSE(), 1.0), "hidden": BoundTerm(HiddenMSE(), 1.0, PAIRS)}
    total, parts = call(objective(terms, projections), student, teacher)
    assert not any(part.requires_grad for part in parts.values())
    total.backward()
    assert student.logits.grad.any()
    assert all(student.features.hidden[pair.student].grad.any() for pair in PAIRS)
    assert all(parameter.grad.any() for parameter in projections.parameters())


def test_a_term_of_weight_zero_is_measured_and_not_followed():
    student, teacher = outputs(8), outputs(8)
    terms = {"logits": BoundTerm(LogitMSE(), 1.0), "labels": BoundTerm(HardLabel(), 0.0)}
    total, parts = call(objective(terms), student, teacher)
    assert parts["labels"] > 0
    torch.testing.assert_close(total.detach(), parts["logits"])


def test_layers_lists_each_side_once_in_order_by_what_a_term_takes():
    terms = {
        "logits": BoundTerm(LogitMSE(), 1.0),
        "hidden": BoundTerm(HiddenMSE(), 1.0, (LayerPair(2, 4), LayerPair(0, 0), LayerPair(2, 3))),
        "more": BoundTerm(HiddenMSE(), 1.0, (LayerPair(1, 4),)),
        "attention": BoundTerm(RelationKL(relation_heads=2), 1.0, (LayerPair(3, 12),)),
    }
    made = objective(terms)
    assert made.layers("hidden", "student") == [0, 1, 2]
    assert made.layers("hidden", "teacher") == [0, 3, 4]
    assert made.layers("attention", "student") == [3]
    assert made.layers("attention", "teacher") == [12]


def test_labels_alone_need_no_teacher():
    made = objective({"labels": BoundTerm(HardLabel(), 1.0)})
    assert not made.needs_teacher
    total, _ = call(made, outputs(8), None)
    assert total > 0


@pytest.mark.parametrize("loss", [LogitMSE(), HiddenMSE(), RelationKL(relation_heads=2)])
def test_any_other_term_needs_the_teacher(loss):
    pairs = () if loss.inputs == "logits" else (LayerPair(1, 2),)
    assert objective({"labels": BoundTerm(HardLabel(), 1.0), "other": BoundTerm(loss, 1.0, pairs)}).needs_teacher


def test_only_terms_on_logits_or_labels_reach_the_head():
    hidden = {"hidden": BoundTerm(HiddenMSE(), 1.0, PAIRS)}
    assert not objective(hidden).reaches_the_head
    for loss in (LogitMSE(), HardLabel()):
        assert objective(hidden | {"logits": BoundTerm(loss, 1.0)}).reaches_the_head


def test_projections_are_saved_and_trained_with_the_objective():
    projections = LinearProjections(PAIRS, 8, 12, shared=False, bias=True, always=False)
    made = objective({"hidden": BoundTerm(HiddenMSE(), 1.0, PAIRS)}, projections)
    assert set(made.state_dict()) == {f"projections.{name}" for name in projections.state_dict()}
    assert len(list(made.parameters())) == len(list(projections.parameters()))


def test_no_terms_are_refused():
    with pytest.raises(ValueError, match="at least one term"):
        BoundObjective({}, nn.Identity())
