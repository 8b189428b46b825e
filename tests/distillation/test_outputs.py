"""What outputs mean, and models whose outputs cannot be compared, through distillers of unbound objectives."""

import copy

import pytest
import torch
from support.tiny import tiny_batch, tiny_classifier, tiny_config
from transformers import AutoModelForQuestionAnswering

from kdfeatures.distillation import Distiller, Linear, Objective, Term
from kdfeatures.distillation.balancing import GradientBalancer
from kdfeatures.errors import ConfigError
from kdfeatures.losses import DIST, AttentionKL, HardLabel, HiddenMSE, LogitKD, LogitMSE, ReverseKL

STEADY = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def model(seed=0, **options):
    torch.manual_seed(seed)
    return tiny_classifier(**STEADY, **options)


def distiller(objective, *, student=None, teacher=None, **options):
    teacher = model(1, **options) if teacher is None else teacher
    return Distiller(model(**options) if student is None else student, teacher, objective).train()


def test_scores_in_one_column_are_scores():
    made = distiller(Objective(labels=HardLabel()), num_labels=1, problem_type="regression")
    batch, scores = tiny_batch(), torch.tensor([3.2, 0.5, 4.8])
    expected = (made.student(**batch).logits[:, 0] - scores).square().mean()
    torch.testing.assert_close(made(**batch, labels=scores).loss, expected)
    torch.testing.assert_close(made(**batch, labels=scores[:, None]).loss, expected)


@pytest.mark.parametrize("loss", [HardLabel(), LogitKD()], ids=lambda loss: type(loss).__name__)
def test_several_scores_are_not_taken_for_classes(loss):
    scores = {"num_labels": 3, "problem_type": "regression"}
    with pytest.raises(ConfigError, match=r"gives 3 scores a text .*'a', (HardLabel|LogitKD), takes for classes"):
        distiller(Objective(a=loss), **scores)
    batch = tiny_batch()
    made = distiller(Objective(a=LogitMSE()), **scores)
    difference = made.student(**batch).logits - made.teacher(**batch).logits
    torch.testing.assert_close(made(**batch).loss, difference.square().mean())


def test_labels_that_may_be_true_together_are_not_compared_with_classes():
    several = {"num_labels": 3, "problem_type": "multi_label_classification"}
    with pytest.raises(
        ConfigError, match="student has problem_type=None and the teacher 'main' problem_type=multi_label_c"
    ):
        distiller(Objective(a=LogitKD()), student=model(num_labels=3), teacher=model(1, **several))
    single = model(1, num_labels=3, problem_type="single_label_classification")
    with pytest.raises(
        ConfigError, match="has problem_type=multi_label_classification and the teacher 'main' problem_type=single_l"
    ):
        distiller(Objective(a=Term(LogitKD(), multilabel=LogitMSE())), student=model(**several), teacher=single)


def test_classes_in_another_order_need_columns():
    names = {"num_labels": 2, "id2label": {0: "no", 1: "yes"}}
    turned = model(0, num_labels=2, id2label={0: "yes", 1: "no"})
    with torch.no_grad():
        for tensor in turned.classifier.parameters():
            tensor.copy_(tensor.flip(0))
    student, objective = model(0, **names), Objective(a=LogitKD())
    with pytest.raises(ConfigError, match="the student has the classes no, yes and the teacher 'main' yes, no"):
        Distiller(student, turned, objective)
    made = Distiller(student, turned, objective, [1, 0]).train()
    torch.testing.assert_close(made(**tiny_batch()).loss, torch.tensor(0.0), atol=1e-6, rtol=0)


def test_parameters_of_both_models_are_refused():
    student, teacher = model(), model(1)
    student.bert.embeddings = teacher.bert.embeddings
    with pytest.raises(ConfigError, match=r"share the parameter bert.embeddings.word_embeddings.weight"):
        distiller(Objective(a=LogitKD()), student=student, teacher=teacher)
    assert all(parameter.requires_grad for parameter in student.parameters())


@pytest.mark.parametrize("loss", [LogitMSE(), DIST()], ids=lambda loss: type(loss).__name__)
def test_what_would_count_padded_positions_of_answers_is_refused(loss):
    models = [AutoModelForQuestionAnswering.from_config(tiny_config("bert", **STEADY)) for _ in range(2)]
    with pytest.raises(ConfigError, match=f"{type(loss).__name__} compares outputs that mean classes or score"):
        Distiller(*models, Objective(a=loss))
    batch = tiny_batch()
    wider = {name: torch.nn.functional.pad(values, (0, 9)) for name, values in batch.items()}
    for other in (LogitKD(), ReverseKL()):
        made = Distiller(*models, Objective(a=other)).train()
        torch.testing.assert_close(made(**batch).loss, made(**wider).loss)


@pytest.mark.parametrize(
    ("term", "told"),
    [
        (Term(HiddenMSE(), layers="cka"), "'a' has layers=cka, which is measured before training, and was not"),
        (Term(AttentionKL(), heads="hungarian"), "'a' has heads=hungarian, which is measured before training"),
    ],
)
def test_what_is_measured_before_training_must_be(term, told):
    with pytest.raises(ConfigError, match=told):
        distiller(Objective(a=term))(**tiny_batch())


def test_an_objective_serves_two_students_as_if_each_were_the_first():
    loss = LogitKD(temperature=4.0)
    balance = GradientBalancer(every=1)
    objective = Objective(
        a=Term(loss, temperature=Linear(8.0, 1.0)), b=HiddenMSE(), balance=balance
    )  # a balance needs two terms
    first = distiller(objective)
    first.objective.balance.note({"a": 5.0, "b": 1.0})
    first.objective.advance(0.5)
    assert first.objective.terms["a"].loss.temperature == 4.5
    second = distiller(objective, student=copy.deepcopy(first.student))
    assert second.objective.balance.norms == balance.norms == {} and loss.temperature == 4.0
    assert (first.objective.terms["a"].loss.temperature, second.objective.terms["a"].loss.temperature) == (4.5, 8.0)
    assert first.objective.balance.norms == {"a": 5.0, "b": 1.0}
