"""The Distiller with models that predict tokens: their logits are never made as a whole, and nothing changes by it."""

import copy

import pytest
import torch
from support.tiny import tiny_batch, tiny_config
from transformers import AutoModelForMaskedLM

from kdfeatures.distillation import distiller as distiller_module
from kdfeatures.distillation.distiller import Distiller
from kdfeatures.distillation.objective import Objective
from kdfeatures.distillation.term import Term
from kdfeatures.losses import DIST, FunctionLoss, HiddenMSE, LogitKD, MaskedLanguageModel, RelationKL, ReverseKL
from kdfeatures.losses.kernels import row_blocks

OFF = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def masked_lm(layers, width, **more):
    torch.manual_seed(layers)
    return AutoModelForMaskedLM.from_config(tiny_config("bert", layers=layers, width=width, **OFF, **more))


def batch():
    torch.manual_seed(5)
    inputs = tiny_batch()
    masked = (torch.rand(inputs["input_ids"].shape) < 0.3) & inputs["attention_mask"].bool()
    return inputs | {"labels": torch.where(masked, inputs["input_ids"], -100)}


def objective(**more):
    return Objective(
        soft=Term(LogitKD(temperature=2.0), 0.5),
        masked=Term(MaskedLanguageModel(), 2.0),
        hidden=Term(HiddenMSE(), 0.1),
        relations=Term(RelationKL(relation_heads=4), layers="last"),
        **more,
    )


def made(terms, student=None, teacher=None, **options):
    student = masked_lm(2, 24) if student is None else student
    return Distiller(copy.deepcopy(student), masked_lm(3, 36) if teacher is None else teacher, terms, **options).train()


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(row_blocks, "CPU_BLOCK", 4 * 128)


def gradients(distiller, inputs):
    distiller.zero_grad()
    output = distiller(**inputs)
    output.loss.backward()
    learned = (item for item in distiller.named_parameters() if item[1].grad is not None)
    named = {name: parameter.grad.clone() for name, parameter in learned}
    assert any("decoder.bias" in name for name in named) or any("predictions.bias" in name for name in named)
    return output.loss.detach(), dict(distiller.parts), named


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_loss_and_gradients_are_those_of_logits_that_are_made(tied, monkeypatch):
    student = masked_lm(2, 24, tie_word_embeddings=tied)
    fused = made(objective(), student)
    assert len(fused._taps) == 2
    torch.manual_seed(1)
    states = fused.objective.projections.state_dict()
    plain = made(objective(), student)
    plain.objective.projections.load_state_dict(states)
    for tap in plain._taps.values():
        tap.detach()
    plain._taps = {}
    (loss, parts, found), (expected, its_parts, known) = gradients(fused, batch()), gradients(plain, batch())
    torch.testing.assert_close(loss, expected)
    assert list(parts) == list(its_parts) == ["soft", "masked", "hidden", "relations"]
    for name in parts:
        torch.testing.assert_close(parts[name], its_parts[name])
    assert found.keys() == known.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, known[name], rtol=1e-4, atol=1e-7)


def test_no_logits_of_the_whole_batch_are_made():
    distiller, inputs = made(objective()), batch()
    widest = []
    for model in (distiller.student, distiller.teacher):
        model.get_output_embeddings().register_forward_hook(lambda *args: widest.append(args[-1].shape[:-1]))
    distiller(**inputs).loss.backward()
    assert widest == [(1, 1), (1, 1)]
    distiller.eval()
    assert distiller(**inputs).logits.shape[:2] == inputs["input_ids"].shape


def test_padding_does_not_change_the_loss():
    distiller, inputs = made(objective()), batch()
    wider = {name: torch.nn.functional.pad(inputs[name], (0, 4)) for name in ("input_ids", "attention_mask")}
    labels = torch.nn.functional.pad(inputs["labels"], (0, 4), value=-100)
    torch.testing.assert_close(distiller(**wider, labels=labels).loss, distiller(**inputs).loss)


def test_terms_are_taken_apart_with_the_same_gradients():
    distiller, inputs = made(objective()), batch()
    _, parts, whole = gradients(distiller, inputs)
    distiller.objective.attached = {}
    distiller.zero_grad()
    distiller(**inputs)
    values = distiller.objective.attached
    assert list(values) == list(parts)
    for name, value in values.items():
        torch.testing.assert_close(value.detach(), parts[name])
        (distiller.objective.weights[name] * value).backward(retain_graph=True)
    for name, parameter in distiller.named_parameters():
        torch.testing.assert_close(parameter.grad, whole[name], rtol=1e-4, atol=1e-7)


def ranks(student, teacher):
    return (student.softmax(0) - teacher.softmax(0)).square().mean()


@pytest.mark.parametrize(
    "loss", [DIST(), FunctionLoss(ranks, inputs="logits", target_temperature=1.0)], ids=["DIST", "a function"]
)
def test_a_loss_that_relates_rows_gets_the_logits_as_a_whole(loss):
    distiller = made(objective(related=Term(loss)))
    assert distiller._taps == {}
    inputs = batch()
    distiller(**inputs).loss.backward()
    rows = inputs["attention_mask"].bool()
    plain = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    logits, targets = (model(**plain).logits[rows] for model in (distiller.student, distiller.teacher))
    torch.testing.assert_close(distiller.parts["related"], loss(logits, targets).detach())


def test_of_several_teachers_the_students_logits_alone_are_not_made():
    teachers = {"one": masked_lm(3, 36), "two": masked_lm(1, 12)}
    distiller = made(Objective(soft=Term(ReverseKL(temperature=2.0))), teacher=teachers)
    assert list(distiller._taps) == [distiller.student]
    inputs = {name: tensor for name, tensor in batch().items() if name != "labels"}
    distiller(**inputs).loss.backward()
    rows = inputs["attention_mask"].bool()
    means = torch.stack([(model(**inputs).logits[rows] / 2).softmax(-1) for model in teachers.values()]).mean(0)
    own = (distiller.student(**inputs).logits[rows] / 2).log_softmax(-1)
    expected = 4 * (own.exp() * (own - means.log())).sum(-1).mean()
    torch.testing.assert_close(distiller.parts["soft"], expected.detach())


def test_a_student_that_is_compiled_gives_logits_and_so_does_the_teacher_beside_it():
    # dynamo traces each layer, and each loss between them
    terms = Objective(soft=Term(LogitKD(temperature=2.0), 0.5), masked=Term(MaskedLanguageModel(), 2.0))
    distiller, inputs = made(terms, masked_lm(1, 24), masked_lm(2, 36)), batch()
    expected = distiller(**inputs).loss
    distiller.student.compile(backend="eager")
    torch.testing.assert_close(distiller(**inputs).loss, expected)
    torch.compiler.reset()


def test_what_the_teacher_gives_is_told_as_logits():
    distiller, inputs = made(objective()), batch()
    rows = inputs["attention_mask"].bool()
    told = distiller.teacher_outputs(**inputs).logits
    del inputs["labels"]
    torch.testing.assert_close(told, distiller.teacher(**inputs).logits[rows])


def test_a_model_that_predicts_no_tokens_is_not_looked_into(monkeypatch):
    monkeypatch.setattr(distiller_module.DecoderTap, "of", lambda model: pytest.fail("looked into"))
    made(Objective(hidden=Term(HiddenMSE())))


def test_detached_it_leaves_no_hooks():
    distiller = made(objective())
    distiller.detach()
    for model in (distiller.student, distiller.teacher):
        assert not any(module._forward_pre_hooks for module in model.modules())
