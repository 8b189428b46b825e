"""What every family of the table owes: features as the eager model has them, outputs as if nothing were captured."""

import copy

import pytest
import torch
from support.attachments import attached
from support.family_table import real_rows
from support.tiny import decided, dropping, tiny_batch, tiny_classifier, tiny_config, undropped
from transformers import AutoModel

from kdfeatures.capture.context import capture
from kdfeatures.capture.families import FAMILIES, encoder_of, family_of
from kdfeatures.errors import UserError

families = pytest.mark.parametrize("family", FAMILIES)

FINAL_NORMS = {
    "roberta-prelayernorm": "LayerNorm",
    "modernbert": "final_norm",
    "eurobert": "norm",
    "esm": "encoder.emb_layer_norm_after",
    "megatron-bert": "encoder.ln",
}


@families
@pytest.mark.parametrize("lengths", [(9, 5, 7), (6, 6), (8,), (1,)])
@pytest.mark.parametrize("training", [False, True])
def test_features_equal_the_eager_reference(family, lengths, training):
    if family == "funnel" and lengths == (1,):
        pytest.skip("transformers' Funnel cannot embed the positions of a single token")
    # transformers' eager ModernBERT answers padded texts in float64 with NaN
    precision = torch.float32 if family == "modernbert" and len(lengths) == 3 else torch.float64
    model, batch = undropped(family).to(precision).train(training), tiny_batch(lengths)
    eager = copy.deepcopy(model)
    eager.set_attn_implementation("eager")
    with capture(model, hidden=[0, 1, 2, 3, "final"], attention=[1, 2, 3]) as features:
        model(**batch)
    expected = eager(**batch, output_hidden_states=True, output_attentions=True)
    mask = batch["attention_mask"]

    def check(found, wanted):
        assert found.shape == wanted.shape
        torch.testing.assert_close(real_rows(found, mask), real_rows(wanted, mask), atol=1e-5, rtol=0)

    for n in range(3):
        check(features.hidden[n], expected.hidden_states[n])
    # transformers' last hidden state is the one after a final norm
    check(features.hidden["final"], expected.hidden_states[-1])
    norm = FINAL_NORMS.get(family)
    last = features.hidden[3]
    check(last if norm is None else model.base_model.get_submodule(norm)(last), expected.hidden_states[-1])
    for n in range(1, 4):
        check(features.attention_probs(n), expected.attentions[n - 1])


@families
def test_probabilities_are_free_of_dropout_in_train_mode(family):
    name = "attention_dropout" if hasattr(tiny_config(family), "attention_dropout") else "attention_probs_dropout_prob"
    model, batch = decided(tiny_classifier(family, **{name: 0.5})).train(), tiny_batch()
    with capture(model, attention=[1]) as features:
        model(**batch)
    rows = features.attention_probs(1).sum(-1)
    torch.testing.assert_close(rows, torch.ones_like(rows))


@families
def test_features_equal_the_eager_reference_with_dropout_on(family):
    model, batch = dropping(family, hidden=0.3, attention=0.0).train(), tiny_batch()
    eager = copy.deepcopy(model)
    eager.set_attn_implementation("eager")
    torch.manual_seed(1)
    with capture(model, hidden=[0, 1, 2], attention=[1, 2, 3]) as features:
        model(**batch)
    torch.manual_seed(1)
    expected = eager(**batch, output_hidden_states=True, output_attentions=True)
    mask = batch["attention_mask"]
    for n in range(3):
        found, wanted = features.hidden[n], expected.hidden_states[n]
        torch.testing.assert_close(real_rows(found, mask), real_rows(wanted, mask), atol=1e-5, rtol=0)
        found, wanted = features.attention_probs(n + 1), expected.attentions[n]
        torch.testing.assert_close(real_rows(found, mask), real_rows(wanted, mask), atol=1e-5, rtol=0)
    assert not torch.equal(features.hidden[2], eager(**batch, output_hidden_states=True).hidden_states[2])


@families
def test_captured_probabilities_are_those_that_dropout_was_applied_to(family):
    model, batch = dropping(family, hidden=0.1, attention=0.25).train(), tiny_batch()
    model.set_attn_implementation("eager")
    with capture(model, attention=[2]) as features:
        dropped = model(**batch, output_attentions=True).attentions[1]
    found, dropped = (real_rows(x, batch["attention_mask"]) for x in (features.attention_probs(2), dropped))
    kept = dropped != 0
    # some models return their probabilities from before the dropout
    rate = 0.0 if torch.allclose(dropped.sum(-1), torch.ones(())) else 0.25
    torch.testing.assert_close(found[kept], dropped[kept] * (1 - rate), atol=1e-5, rtol=0)
    assert kept.any() and (rate == 0.0 or not kept.all())


@families
@pytest.mark.parametrize("asked", [{"hidden": [0, 4]}, {"hidden": [1], "attention": [1, 4]}])
def test_wrong_layers_leave_nothing_attached(family, asked):
    model = tiny_classifier(family)
    with pytest.raises(UserError, match="of layer 4: this model has layers"), capture(model, **asked):
        pass
    assert attached(model) == 0


@families
def test_a_model_that_raises_midway_leaves_nothing_attached(family):
    model = tiny_classifier(family)

    def fail(*_):
        raise RuntimeError("midway")

    module = encoder_of(model).layers[-1]
    handle = module.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="midway"), capture(model, hidden=[0, 1, "final"], attention=[1, 3]):
        model(**tiny_batch())
    handle.remove()
    assert attached(model) == 0


@families
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("training", [False, True])
def test_outputs_are_bit_identical(family, implementation, training):
    model, batch = decided(tiny_classifier(family)).train(training), tiny_batch()
    if FAMILIES[family].eager is None or implementation == "eager":
        model.set_attn_implementation(implementation)
    torch.manual_seed(1)
    plain = model(**batch).logits
    torch.manual_seed(1)
    with capture(model, hidden=[0, 3, "final"], attention=[2, 3]):
        captured = model(**batch).logits
    assert torch.equal(plain, captured)


@families
def test_gradients_of_captured_features_equal_those_of_the_eager_reference(family):
    model, batch = undropped(family), tiny_batch((6, 6))
    eager = copy.deepcopy(model)
    eager.set_attn_implementation("eager")
    with capture(model, hidden=[2], attention=[2]) as features:
        model(**batch)
    (features.hidden[2].square().mean() + features.attention_probs(2).square().mean()).backward()
    expected = eager(**batch, output_hidden_states=True, output_attentions=True)
    (expected.hidden_states[2].square().mean() + expected.attentions[1].square().mean()).backward()
    pairs = [
        (own.grad, theirs.grad)
        for own, theirs in zip(model.base_model.parameters(), eager.base_model.parameters(), strict=True)
        if own.grad is not None
    ]
    assert pairs
    for own, theirs in pairs:
        torch.testing.assert_close(own, theirs, atol=1e-4, rtol=1e-3)


@families
def test_nothing_is_left_attached_after_exit(family):
    model = tiny_classifier(family)
    assert attached(model) == 0
    with capture(model, hidden=[0, 2, "final"], attention=[1, 3]):
        assert attached(model) > 4
    assert attached(model) == 0


@families
def test_heads_and_width_of_the_config_are_those_of_the_captured_query(family):
    model, row = tiny_classifier(family), FAMILIES[family]
    with capture(model, attention=[1]) as features:
        model(**tiny_batch())
    _, heads, _, width = features.attention[1].query.shape
    assert (row.heads(model.config), row.width(model.config)) == (heads, heads * width)
    assert features.attention[1].key.shape[1] == features.attention[1].value.shape[1] == heads


@families
def test_a_bare_model_is_captured_as_a_headed_one(family):
    model = AutoModel.from_config(tiny_config(family)).eval()
    with capture(model, hidden=[3, "final"], attention=[3]) as features:
        output = model(**tiny_batch())
    assert torch.equal(features.hidden["final"], output.last_hidden_state)
    assert features.attention[3].query.shape[0] == 3


ATTENDED = {  # where probabilities @ value, heads side by side, leave the attention module
    "bert": "",
    "eurobert": "o_proj",
    "modernbert": "Wo",
    "mobilebert": "",
    "mpnet": "o",
    "deberta": "",
    "deberta-v2": "",
    "roformer": "",
    "rembert": "",
    "megatron-bert": "",
    "funnel": "post_proj",
}


@pytest.mark.parametrize("family", ATTENDED)
def test_values_are_what_the_probabilities_average(family):
    model, seen = undropped(family), []
    layer = (FAMILIES[family].layers(model.base_model) if family == "funnel" else _layers(model, family))[1]
    attention = layer.get_submodule(FAMILIES[family].attention)
    if ATTENDED[family]:
        attention.get_submodule(ATTENDED[family]).register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    else:
        attention.register_forward_hook(lambda _, args, output: seen.append(output[0]))
    with capture(model, attention=[2]) as features:
        model(**tiny_batch((6, 6)))
    found = (features.attention_probs(2) @ features.attention[2].value).transpose(1, 2).flatten(2)
    torch.testing.assert_close(found, seen[0], atol=1e-5, rtol=1e-5)


def _layers(model, family):
    return model.base_model.get_submodule(FAMILIES[family].layers)


@pytest.mark.parametrize(
    ("family", "more"),
    [
        ("roformer", {"rotary_value": True}),
        ("roformer", {}),
        ("rembert", {}),
        ("megatron-bert", {}),
        ("convbert", {}),
        ("deberta", {"relative_attention": False}),
        ("deberta-v2", {"relative_attention": False}),
    ],
)
def test_scores_of_eager_only_families_lead_to_the_probabilities_the_model_used(family, more):
    model = decided(tiny_classifier(family, **more))
    batch = tiny_batch()
    with capture(model, attention=[2]) as features:
        model(**batch)
    states = features.attention[2]
    scores = features.attention_scores(2).masked_fill(~states.keep_mask(), torch.finfo(torch.float32).min)
    mask = batch["attention_mask"]
    torch.testing.assert_close(real_rows(scores.softmax(-1), mask), real_rows(states.used, mask), atol=1e-6, rtol=0)


def test_scores_of_funnel_are_refused_but_not_its_probabilities():
    model = tiny_classifier("funnel")
    with capture(model, attention=[1]) as features:
        model(**tiny_batch())
    with pytest.raises(UserError, match="attention scores are not known.*features.attention_probs"):
        features.attention_scores(1)
    assert features.relation(1, "value").shape == features.attention[1].value.shape[:3] + (
        features.attention[1].value.shape[2],
    )


@pytest.mark.parametrize(("groups", "inner"), [(1, 1), (2, 1), (1, 2)])
def test_albert_counts_the_calls_of_its_shared_modules(groups, inner):
    model = decided(tiny_classifier("albert", layers=4, num_hidden_groups=groups, inner_group_num=inner))
    eager, batch = copy.deepcopy(model), tiny_batch()
    eager.set_attn_implementation("eager")
    depth = 4 * inner
    with capture(model, hidden=[1, depth - 1], attention=[2, depth]) as features:
        model(**batch)
    expected = eager(**batch, output_hidden_states=True, output_attentions=True)
    mask = batch["attention_mask"]
    for n in (1, depth - 1):
        found, wanted = features.hidden[n], expected.hidden_states[n]
        torch.testing.assert_close(real_rows(found, mask), real_rows(wanted, mask), atol=2e-5, rtol=0)
    for n in (2, depth):
        found, wanted = features.attention_probs(n), expected.attentions[n - 1]
        torch.testing.assert_close(real_rows(found, mask), real_rows(wanted, mask), atol=2e-5, rtol=0)


@pytest.mark.parametrize("model_type", ["longformer", "big_bird", "nystromformer", "squeezebert"])
def test_families_that_cannot_be_captured_are_refused_with_the_reason(model_type):
    model = tiny_classifier(model_type)
    with pytest.raises(UserError, match=f"cannot capture from '{model_type}': it"):
        with capture(model, hidden=[1]):
            pass
    with pytest.raises(UserError, match=f"'{model_type}': it"):
        family_of(model.config)
    assert attached(model) == 0


def test_a_decoder_is_refused():
    model = AutoModel.from_config(tiny_config("bert", is_decoder=True))
    with pytest.raises(UserError, match="load it with is_decoder=False"), capture(model, attention=[1]):
        pass


def test_attention_implementations_without_a_mask_tensor_are_refused():
    model = tiny_classifier()
    model.config._attn_implementation_internal = "flex_attention"
    with pytest.raises(UserError, match="attn_implementation='flex_attention'.*set_attn_implementation"):
        with capture(model, attention=[1]):
            pass
    with capture(model, hidden=[1]):
        assert attached(model) == 2
