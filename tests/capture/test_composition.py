"""Capture together with what else may be done to a model: compiled, checkpointed, autocast, copied, stopped."""

import copy

import pytest
import torch
from support.attachments import attached
from support.tiny import decided, tiny_batch, tiny_classifier, undropped
from transformers.modeling_layers import GradientCheckpointingLayer

from kdfeatures.capture.context import Recorder, capture, extract
from kdfeatures.capture.families import FAMILIES, encoder_of
from kdfeatures.errors import UserError
from kdfeatures.features import Features

families = pytest.mark.parametrize("family", FAMILIES)
kinds = pytest.mark.parametrize("family", ["bert", "albert", "modernbert", "mpnet", "deberta-v2"])
ASKED = {"hidden": [0, 1, 3, "final"], "attention": [2, 3]}
OFF = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def flat(features):
    tensors = dict(features.hidden)
    for n, states in features.attention.items():
        tensors |= {(n, name): getattr(states, name) for name in ("query", "key", "value")}
        tensors[n, "probabilities"] = features.attention_probs(n)
    return tensors


def assert_equal(found, wanted, **tolerance):
    found, wanted = flat(found), flat(wanted)
    assert wanted and found.keys() == wanted.keys()
    for key, tensor in wanted.items():
        torch.testing.assert_close(found[key], tensor, **tolerance)


@pytest.fixture
def _compiler():
    """No compiled code of another test; tracing a layer takes a third of a second, so models have one or two."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


FAST = ("bert", "albert", "deberta-v2")
TWO_LAYERS = (*FAST, "modernbert")  # whose layers share weights or positions, or differ from one another


@pytest.mark.usefixtures("_compiler")
@pytest.mark.parametrize("family", [pytest.param(f, marks=() if f in FAST else pytest.mark.slow) for f in FAMILIES])
@torch.no_grad()
def test_a_model_that_is_compiled_in_one_graph_gives_the_same_features(family):
    layers = 2 if family in TWO_LAYERS else 1
    model, batch = decided(tiny_classifier(family, layers=layers)), tiny_batch()
    recorder = Recorder(model, hidden=[*range(layers + 1), "final"], attention=[*range(1, layers + 1)])
    recorder.attach()
    expected = Features()
    with recorder.recording(expected):
        logits = model(**batch).logits
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    for _ in range(3):
        features = Features()
        with recorder.recording(features):
            assert torch.equal(compiled(**batch).logits, logits)
        assert_equal(features, expected, atol=0, rtol=0)


@pytest.mark.usefixtures("_compiler")
@pytest.mark.parametrize("asked", [{"hidden": [0, 1]}, {"attention": [1]}, {"hidden": ["final"]}])
@torch.no_grad()
def test_a_capture_that_begins_after_the_first_compiled_call_compiles_anew(asked):
    model, batch = decided(tiny_classifier(layers=1)), tiny_batch()
    expected = extract(model, **asked, **batch)
    compiled = torch.compile(model, backend="eager")
    logits = compiled(**batch).logits
    for _ in range(2):
        with capture(model, **asked) as features:
            compiled(**batch)
        assert_equal(features, expected, atol=0, rtol=0)
        assert torch.equal(compiled(**batch).logits, logits)
    assert attached(model) == 0


@pytest.mark.usefixtures("_compiler")
def test_a_capture_that_begins_after_a_function_around_the_model_was_compiled_is_seen_by_it():
    model, batch = tiny_classifier("bert", layers=1), tiny_batch()
    step = torch.compile(lambda inputs: model(**inputs).logits, backend="eager")
    logits = step(batch)
    with capture(model, hidden=[1]) as features:
        assert torch.equal(step(batch), logits)
    assert features.hidden[1].shape[:2] == batch["input_ids"].shape


@pytest.mark.usefixtures("_compiler")
@torch.no_grad()
def test_an_early_stop_asked_of_a_compiled_model_runs_to_the_end_with_the_same_features():
    model, batch = decided(tiny_classifier(layers=2)), tiny_batch()
    expected = extract(model, hidden=[1], **batch)
    model.compile(backend="eager")
    assert_equal(extract(model, hidden=[1], **batch), expected, atol=0, rtol=0)
    assert model(**batch).logits.shape == (3, 2)


@pytest.mark.usefixtures("_compiler")
def test_gradients_through_a_compiled_model_are_the_same():
    model, batch = decided(tiny_classifier(layers=2)), tiny_batch()
    recorder = Recorder(model, hidden=[2], attention=[2])
    recorder.attach()
    gradients = []
    for forward in (model, torch.compile(model, backend="aot_eager")):
        model.zero_grad()
        features = Features()
        with recorder.recording(features):
            forward(**batch)
        (features.hidden[2].square().mean() + features.attention_scores(2).square().mean()).backward()
        gradients.append([p.grad.clone() for p in model.base_model.embeddings.parameters()])
    for plain, compiled in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, compiled)


def checkpointed(model):
    model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    return model


@families
def test_checkpointing_gives_the_same_features_and_gradients(family):
    model = undropped(family).train()
    encoder = encoder_of(model)
    if not isinstance(encoder.layers[0], GradientCheckpointingLayer) or not model.supports_gradient_checkpointing:
        pytest.skip(f"transformers does not checkpoint {family}")
    batch, calls = tiny_batch(), []
    encoder.attention[1].register_forward_hook(lambda *_: calls.append(1))
    recorder = Recorder(model, hidden=[0, 2, 3], attention=[2, 3])
    recorder.attach()
    recorded, gradients = [], []
    for prepare in (lambda model: model, checkpointed):
        prepare(model).zero_grad()
        features = Features()
        with recorder.recording(features):
            model(**batch)
            before = dict(features.hidden)
            loss = sum(features.hidden[n].square().mean() for n in (2, 3))
            (loss + features.attention_probs(2).square().mean()).backward()
            assert all(features.hidden[n] is before[n] for n in before)  # not those that backward computed again
        recorded.append(features)
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    assert len(calls) == 3
    assert_equal(*recorded)
    assert gradients[0].keys() == gradients[1].keys() and len(gradients[0]) > 10
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


def test_reentrant_checkpointing_is_refused_where_gradients_would_be_lost():
    model, batch = tiny_classifier(**OFF).train(), tiny_batch()
    model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": True})
    with pytest.raises(UserError, match="use_reentrant=True drops the gradients.*use_reentrant=False"):
        with capture(model, hidden=[1]):
            model(**batch)
    assert attached(model) == 1  # transformers' own, on the embeddings, for checkpointing
    with torch.no_grad(), capture(model, hidden=[1]) as features:
        model(**batch)
    assert 1 in features.hidden


@families
def test_bf16_autocast_changes_nothing_but_the_precision(family):
    if family in ("xmod", "deberta"):
        pytest.skip(f"transformers' own forward of {family} fails under bf16 autocast")
    model, batch = tiny_classifier(family), tiny_batch((6, 6))
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        plain = model(**batch).logits
        with capture(model, **ASKED) as features:
            assert torch.equal(model(**batch).logits, plain)
    exact = extract(model, **ASKED, **batch)
    assert features.attention[2].value.dtype == torch.bfloat16
    for key, tensor in flat(features).items():
        torch.testing.assert_close(tensor.float(), flat(exact)[key], atol=0.1, rtol=0.1)


@kinds
def test_a_model_copied_inside_the_block_works_and_does_not_write_into_the_capture(family):
    model, batch = tiny_classifier(family), tiny_batch()
    with capture(model, **ASKED) as features:
        expected = model(**batch).logits
        before = features.hidden[1], features.attention[2].key
        twin = copy.deepcopy(model)
        twin(**tiny_batch((3, 3)))
        assert features.hidden[1] is before[0] and features.attention[2].key is before[1]
    assert torch.equal(twin(**batch).logits, expected)
    assert attached(model) == 0


@kinds
def test_a_capture_inside_a_capture_records_the_same_and_ends_alone(family):
    model, batch = tiny_classifier(family), tiny_batch()
    with capture(model, **ASKED) as outer:
        during = attached(model)
        with capture(model, **ASKED) as inner:
            model(**batch)
        assert attached(model) == during
        assert_equal(inner, outer, atol=0, rtol=0)
    assert attached(model) == 0


@kinds
def test_two_models_of_one_class_are_captured_at_once_and_apart(family):
    teacher, student, batch = tiny_classifier(family), tiny_classifier(family), tiny_batch()
    expected = extract(teacher, **ASKED, **batch), extract(student, **ASKED, **batch)
    with capture(teacher, **ASKED) as of_teacher, capture(student, **ASKED) as of_student:
        teacher(**batch)
        student(**batch)
    assert_equal(of_teacher, expected[0], atol=0, rtol=0)
    assert_equal(of_student, expected[1], atol=0, rtol=0)
    assert not torch.allclose(of_teacher.hidden[1], of_student.hidden[1])


@kinds
def test_features_of_a_teacher_under_no_grad_are_usable_in_autograd(family):
    teacher, student, batch = tiny_classifier(family), tiny_classifier(family), tiny_batch()
    with torch.no_grad():
        targets = extract(teacher, hidden=[2], **batch)
    with capture(student, hidden=[2]) as features:
        student(**batch)
    loss = (features.hidden[2] - targets.hidden[2]).square() + (features.hidden[2] * targets.hidden[2])
    loss.mean().backward()
    assert not targets.hidden[2].requires_grad
    assert all(p.grad is not None for p in encoder_of(student).outputs[0].parameters())


@families
def test_nothing_is_left_attached_when_the_model_raises_midway(family):
    model = tiny_classifier(family)

    def fail(*_):
        raise RuntimeError("midway")

    handle = encoder_of(model).layers[-1].register_forward_hook(fail)
    before = attached(model)
    for broken in (lambda: _captured(model), lambda: extract(model, hidden=["final"], attention=[1], **tiny_batch())):
        with pytest.raises(RuntimeError, match="midway"):
            broken()
        assert attached(model) == before == 1
    handle.remove()
    with capture(model, **ASKED) as features:
        model(**tiny_batch())
    assert features.hidden[3].shape[0] == 3


def _captured(model):
    with capture(model, **ASKED):
        model(**tiny_batch())


@families
def test_a_pass_that_ends_early_gives_the_features_of_a_whole_one_and_runs_no_layer_after(family):
    model, batch, ran = decided(tiny_classifier(family)), tiny_batch(), []
    with capture(model, hidden=[0, 1], attention=[2]) as expected:
        model(**batch)
    for n, layer in enumerate(encoder_of(model).layers, 1):
        layer.register_forward_hook(lambda *_, n=n: ran.append(n))
    logits = []
    handle = model.register_forward_hook(lambda *_: logits.append(1))
    found = extract(model, hidden=[0, 1], attention=[2], **batch)
    handle.remove()
    assert_equal(found, expected, atol=0, rtol=0)
    assert not logits and len(ran) == (3 if family == "albert" else 1)  # albert's one module carries three hooks
    assert model(**batch).logits.shape == (3, 2)


def test_a_pass_for_the_final_output_ends_before_the_head():
    model, batch, ran = tiny_classifier("modernbert"), tiny_batch(), []
    model.head.register_forward_hook(lambda *_: ran.append(1))
    features = extract(model, hidden=["final"], **batch)
    assert not ran
    assert torch.equal(features.hidden["final"], model.base_model(**batch).last_hidden_state)


def test_a_pass_that_ends_early_inside_another_capture_leaves_that_one_whole_later():
    model, batch = tiny_classifier(), tiny_batch()
    with capture(model, hidden=[1, 3]) as features:
        assert list(extract(model, hidden=[1], **batch).hidden) == [1]
        assert 3 not in features.hidden
        model(**batch)
    assert list(features.hidden) == [1, 3]


def test_a_pass_with_nothing_to_wait_for_is_refused():
    model = tiny_classifier()
    with pytest.raises(UserError, match="no features were asked for"):
        extract(model, **tiny_batch())
    with pytest.raises(RuntimeError, match="attach this recorder"):
        Recorder(model, hidden=[1]).run(**tiny_batch())
    assert attached(model) == 0
