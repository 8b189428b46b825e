"""Losses on scores with position terms, value and gradient, held against the models' own eager probabilities."""

import pytest
import torch
from support.tiny import dropping, tiny_batch, tiny_config
from torch.testing import assert_close
from transformers import AutoModelForSequenceClassification

from kdfeatures import losses
from kdfeatures.alignment.heads import HeadSizes, MeanHeads
from kdfeatures.alignment.hungarian import HungarianHeads
from kdfeatures.alignment.learned_heads import LearnedHeads
from kdfeatures.capture.context import capture, extract
from kdfeatures.distillation.controls import features_of_other_texts
from kdfeatures.distillation.distiller import Distiller
from kdfeatures.distillation.objective import Objective
from kdfeatures.distillation.term import Term
from kdfeatures.errors import ConfigError
from kdfeatures.features import AttentionStates
from kdfeatures.losses.kernels import batching
from kdfeatures.mapping.pairs import LayerPair

FAMILIES = ("bert", "mpnet", "deberta", "deberta-v2")
LENGTHS = (9, 5, 7)


def model_of(family, seed):
    torch.manual_seed(seed)
    model = dropping(family, hidden=0.0, attention=0.0)
    return model.double()


def by_hand(student, teacher, batch, kind):
    """Return the loss of layer 2 with layer 3 from unpadded texts one by one; its graph reaches all parameters."""
    values = []
    for row, length in enumerate(LENGTHS):
        inputs = {name: x[row : row + 1, :length] for name, x in batch.items()}
        with capture(student, attention=[2]) as of_student, capture(teacher, attention=[3]) as of_teacher:
            own = student(**inputs, output_attentions=True).attentions[1][0]
            its = teacher(**inputs, output_attentions=True).attentions[2][0].detach()
        if kind == "kl":
            values.append((its * (its.log() - own.log())).sum(-1).mean())
            continue
        # log-probabilities are scores less a constant of the row, which centring takes away
        both = [probs.log() - probs.log().mean(-1, keepdim=True) for probs in (own, its)]
        values.append((both[0] - both[1]).square().mean())
        del of_student, of_teacher
    return torch.stack(values).mean()


@pytest.mark.parametrize("block", [2**18, 40])
@pytest.mark.parametrize("kind", ["kl", "centered"])
@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        ("bert", "mpnet"),
        ("mpnet", "bert"),
        ("mpnet", "mpnet"),
        ("deberta-v2", "deberta"),
        ("bert", "deberta-v2"),
        ("deberta", "mpnet"),
    ],
)
def test_values_and_gradients_are_those_of_the_models_own_probabilities(student, teacher, kind, block, monkeypatch):
    monkeypatch.setattr(batching, "CPU_BLOCK", block)
    models = model_of(student, 0), model_of(teacher, 1)
    for model in models:
        model.set_attn_implementation("eager")
    batch = tiny_batch(LENGTHS)
    loss = losses.AttentionKL() if kind == "kl" else losses.AttentionScoreMSE(centered=True)
    distiller = Distiller(*models, Objective(attention=Term(loss, layers=[(2, 3)])), same_ids=True).train()
    models[0].eval()
    value = distiller(**batch).loss
    assert_close(value, by_hand(*models, batch, kind), atol=1e-9, rtol=1e-7)
    parameters = [p for p in models[0].parameters() if p.requires_grad]
    own = torch.autograd.grad(value, parameters, allow_unused=True)
    expected = torch.autograd.grad(by_hand(*models, batch, kind), parameters, allow_unused=True)
    for one, other in zip(own, expected, strict=True):
        if other is not None and other.abs().max() > 1e-12:
            # DeBERTa rounds its scale to float32
            assert_close(one, other, atol=1e-7, rtol=1e-6)
    assert value > 1e-4


def test_the_position_parameters_of_a_student_learn():
    models = model_of("mpnet", 0), model_of("mpnet", 1)
    objective = Objective(attention=Term(losses.AttentionScoreMSE(), layers=[(2, 3)]))
    distiller = Distiller(*models, objective, same_ids=True).train()
    distiller(**tiny_batch(LENGTHS)).loss.backward()
    assert models[0].base_model.encoder.relative_attention_bias.weight.grad.abs().max() > 1e-4


def with_bias(heads=2, length=6, *, shared, seed=0):
    torch.manual_seed(seed)
    operands = (torch.randn(3, heads, length, 4, dtype=torch.float64) for _ in range(3))
    bias = torch.randn(1 if shared else 3, heads, length, length, dtype=torch.float64)
    return AttentionStates(*operands, scale=0.5, bias=bias)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("loss", [losses.AttentionKL(), losses.AttentionScoreMSE()], ids=["kl", "mse"])
def test_a_bias_gets_its_gradient_and_what_padding_holds_does_not_matter(loss, shared):
    student, teacher = with_bias(shared=shared), with_bias(shared=not shared, seed=1)
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 0, 0]])
    bias = student.bias.requires_grad_()

    def scores(states, of=None):
        return torch.einsum("bhid,bhjd->bhij", states.query, states.key) * states.scale + (
            states.bias if of is None else of
        )

    values = []
    for row, count in enumerate(mask.sum(1).tolist()):
        own, its = (x[row, :, :count, :count] for x in (scores(student, bias), scores(teacher)))
        if isinstance(loss, losses.AttentionKL):
            values.append((its.softmax(-1) * (its.log_softmax(-1) - own.log_softmax(-1))).sum(-1).mean())
        else:
            values.append((own - its).square().mean())
    expected = torch.stack(values).mean()
    value = loss(student._replace(bias=bias), teacher, mask)
    assert_close(value, expected)
    assert_close(*(torch.autograd.grad(x, bias)[0] for x in (value, expected)))
    noisy = [x._replace(query=x.query.masked_fill(mask[:, None, :, None] == 0, torch.inf)) for x in (student, teacher)]
    assert_close(loss(*noisy, mask), expected)


@pytest.mark.parametrize("rule", [HungarianHeads, MeanHeads, LearnedHeads])
def test_heads_are_brought_together_with_their_bias(rule):
    pair = LayerPair(1, 2)
    student, teacher = with_bias(heads=2, shared=True), with_bias(heads=3, shared=False, seed=1)
    own, its = rule([pair], HeadSizes(2, 8, 3, 12))(pair, student, teacher, None)
    scores = [x.attention.scores() for x in (student, teacher)]
    if rule is HungarianHeads:  # not fitted: the first with the first
        expected = scores[0], scores[1][:, :2]
    elif rule is MeanHeads:
        expected = tuple(x.mean(1, keepdim=True) for x in scores)
    else:
        expected = scores[0].mean(1, keepdim=True).expand(-1, 3, -1, -1), scores[1]
    for found, right in zip((own, its), expected, strict=True):
        assert_close(found.attention.scores(), right, check_dtype=False, atol=1e-6, rtol=1e-6)


def test_heads_that_are_split_anew_have_no_place_for_a_bias():
    configs = [tiny_config(family) for family in ("bert", "mpnet")]
    models = [AutoModelForSequenceClassification.from_config(config) for config in configs]
    objective = Objective(attention=Term(losses.AttentionKL(), layers="last", heads="relation"))
    with pytest.raises(ConfigError, match="'mpnet' adds relative positions to the scores of its own.*hungarian"):
        Distiller(*models, objective)


@pytest.mark.parametrize("family", ["mpnet", "deberta-v2"])
def test_a_teacher_that_reads_other_texts_brings_their_position_terms(family):
    model, lengths = model_of(family, 0), (7, 7, 7)
    batch = tiny_batch(lengths)
    features = extract(model, attention=[2], **batch)
    moved = features_of_other_texts(features, batch["attention_mask"])
    assert_close(moved.attention_scores(2), features.attention_scores(2).roll(1, 0))


def test_a_loss_of_ones_own_is_refused_unless_it_says_that_it_takes_position_terms():
    models = [AutoModelForSequenceClassification.from_config(tiny_config(family)) for family in ("bert", "mpnet")]

    def of_products(student, teacher, mask):
        return (student.query @ student.key.mT - teacher.query @ teacher.key.mT).square().mean()

    own = losses.FunctionLoss(of_products, inputs="attention")
    with pytest.raises(ConfigError, match="may form scores of q and k alone, but 'mpnet' adds relative positions"):
        Distiller(*models, Objective(attention=Term(own, layers="last")))


def test_what_padding_holds_does_not_reach_the_mix_of_heads():
    pair, mask = LayerPair(1, 2), torch.tensor([[1, 1, 1, 1, 1, 0]] * 3)
    student, teacher = with_bias(heads=2, shared=False), with_bias(heads=3, shared=False, seed=1)
    real = mask.bool()
    bias = student.bias.masked_fill(~(real[:, None, :, None] & real[:, None, None]), torch.nan)
    heads = LearnedHeads([pair], HeadSizes(2, 8, 3, 12))
    losses.AttentionKL()(*heads(pair, student._replace(bias=bias), teacher, mask), mask).backward()
    assert all(parameter.grad.isfinite().all() for parameter in heads.parameters())
