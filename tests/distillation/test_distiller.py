import pytest
import torch
from support.runs_for_tests import PAIRS, small_distiller
from support.tiny import tiny_batch

from kdfeatures.capture.context import capture
from kdfeatures.errors import UserError


def batch():
    return tiny_batch() | {"labels": torch.tensor([0, 1, 1])}


def test_teacher_is_frozen_in_eval_mode_and_outside_the_state_dict():
    distiller = small_distiller().train()
    assert not distiller.teacher.training
    assert not any(parameter.requires_grad for parameter in distiller.teacher.parameters())
    assert {name.split(".")[0] for name in distiller.state_dict()} == {"student", "objective"}
    assert len(list(distiller.parameters())) < len(list(distiller.student.parameters())) + 10
    assert not set(map(id, distiller.teacher.parameters())) & set(map(id, distiller.parameters()))


def test_teacher_follows_the_distiller_to_another_dtype_or_device():
    distiller = small_distiller().to(torch.float64)
    assert next(distiller.teacher.parameters()).dtype == torch.float64
    assert next(distiller.to("meta").teacher.parameters()).device.type == "meta"


def test_training_loss_is_the_weighted_sum_of_what_its_terms_say_of_captured_features():
    distiller, inputs = small_distiller().train(), batch()
    total = distiller(**inputs).loss
    labels = inputs.pop("labels")
    student, teacher, terms = distiller.student, distiller.teacher, distiller.objective.terms
    with capture(student, hidden=[0, 1, 2], attention=[2]) as own:
        logits = student(**inputs).logits
    with capture(teacher, hidden=[0, 2, 3], attention=[3]) as theirs, torch.no_grad():
        targets = teacher(**inputs).logits
    mask = inputs["attention_mask"]
    hidden = 0.0
    for pair in PAIRS:
        projected = distiller.objective.projections.linear[f"{pair.student}_to_{pair.teacher}"](
            own.hidden[pair.student]
        )
        hidden = hidden + terms["hidden"].loss(projected, theirs.hidden[pair.teacher], mask)
    expected = 0.5 * terms["labels"].loss(logits, labels) + 0.5 * terms["logits"].loss(logits, targets)
    expected = expected + hidden + 0.1 * terms["relations"].loss(own.attention[2], theirs.attention[3], mask)
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(distiller.parts["hidden"], hidden.detach())
    assert distiller.parts.keys() == terms.keys()


def test_padding_does_not_change_the_training_loss():
    distiller, inputs = small_distiller().train(), batch()
    wider = {name: torch.nn.functional.pad(inputs[name], (0, 6), value=0) for name in ("input_ids", "attention_mask")}
    torch.testing.assert_close(distiller(**wider, labels=inputs["labels"]).loss, distiller(**inputs).loss)


def test_teacher_logits_are_brought_into_the_students_label_order():
    distiller, inputs = small_distiller(terms=("logits",)).train(), batch()
    straight = distiller(**inputs).loss
    with torch.no_grad():
        for tensor in distiller.teacher.classifier.parameters():
            tensor.copy_(tensor.flip(0))
    assert not torch.allclose(distiller(**inputs).loss, straight)
    distiller.columns = {"main": [1, 0]}
    torch.testing.assert_close(distiller(**inputs).loss, straight)


def test_in_eval_mode_it_is_the_plain_student():
    distiller, inputs = small_distiller().eval(), batch()
    found, expected = distiller(**inputs), distiller.student(**inputs)
    assert torch.equal(found.logits, expected.logits)
    assert torch.equal(found.loss, expected.loss)
    assert found.hidden_states is None


def test_without_teacher_terms_the_teacher_does_not_run():
    distiller = small_distiller(terms=("labels",)).train()
    distiller.teacher.register_forward_pre_hook(lambda *_: pytest.fail("the teacher ran"))
    distiller(**batch()).loss.backward()


def test_the_teacher_stops_after_its_deepest_captured_layer_when_no_term_needs_its_logits():
    distiller, inputs = small_distiller(terms=("hidden", "relations")).train(), batch()
    expected = distiller(**inputs).loss
    distiller.teacher.classifier.register_forward_pre_hook(lambda *_: pytest.fail("the teacher's head ran"))
    distiller(**inputs).loss.backward()
    with_logits = small_distiller(terms=("hidden", "relations", "logits")).train()
    with_logits(**inputs)
    parts = with_logits.parts
    torch.testing.assert_close(parts["hidden"] + 0.1 * parts["relations"], expected.detach())


def test_every_student_and_projection_parameter_gets_a_gradient():
    distiller = small_distiller().train()
    distiller(**batch()).loss.backward()
    assert [name for name, parameter in distiller.named_parameters() if parameter.grad is None] == []
    assert all(parameter.grad is None for parameter in distiller.teacher.parameters())


def test_bf16_autocast_keeps_the_loss_in_float32_and_close():
    distiller, inputs = small_distiller().train(), batch()
    exact = distiller(**inputs).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = distiller(**inputs).loss
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.0)


def test_checkpointing_gives_the_same_loss_and_gradients():
    inputs, found = batch(), []
    for checkpointing in (False, True):
        distiller = small_distiller().train()
        if checkpointing:
            distiller.activation_checkpointing_enable()
        loss = distiller(**inputs).loss
        loss.backward()
        found.append([loss.detach(), *(parameter.grad for parameter in distiller.parameters())])
    for plain, checkpointed in zip(*found, strict=True):
        torch.testing.assert_close(plain, checkpointed)


def test_reentrant_checkpointing_is_refused():
    with pytest.raises(UserError, match="use_reentrant=True loses the gradients"):
        small_distiller().activation_checkpointing_enable({"use_reentrant": True})


def test_detach_takes_the_hooks_off_both_models():
    distiller = small_distiller()
    distiller.detach()
    for model in (distiller.student, distiller.teacher):
        assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())
