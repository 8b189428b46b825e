"""Features of groups of tokens, held against loops over tokens; and losses on them against the one-tokenizer result."""

import pytest
import torch
from torch.testing import assert_close

from kdfeatures import losses
from kdfeatures.alignment.tokens.groups import Grouped, TokenGroups
from kdfeatures.features import AttentionStates, Features

STUDENT = torch.tensor([[0, 1, 1, 2, 3, -1], [0, 1, 2, -1, -1, -1]])
TEACHER = torch.tensor([[0, 1, 2, 2, 2, -1, 3], [0, 0, 1, 2, -1, -1, -1]])
MASK_S = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]])
MASK_T = torch.tensor([[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0]])
REAL = torch.tensor([[True, True, True, True], [True, True, True, False]])
GROUPS = TokenGroups(Grouped(STUDENT, MASK_S), Grouped(TEACHER, MASK_T), REAL)
SIDES = [("student", STUDENT, MASK_S), ("teacher", TEACHER, MASK_T)]


def padded_with(states, mask, value):
    """Return states (B, ..., L, d) that hold anything where padding is."""
    shape = (len(mask), *[1] * (states.ndim - 3), mask.shape[1], 1)
    return states.masked_fill(~mask.bool().view(shape), value)


def attention(length, mask, *, heads=2, width=3, padding=0.0, **more):
    torch.manual_seed(length)
    operands = [padded_with(torch.randn(2, heads, length, width, dtype=torch.float64), mask, padding) for _ in range(3)]
    return AttentionStates(*operands, scale=0.7, **more)


@pytest.mark.parametrize(("side", "groups", "mask"), SIDES)
def test_a_groups_state_is_the_mean_of_its_tokens_whatever_padding_holds(side, groups, mask):
    states = torch.randn(2, groups.shape[1], 5, dtype=torch.float64)
    found = GROUPS.hidden(padded_with(states, mask, torch.nan), side)
    for row in range(2):
        for group in range(4):
            members = [n for n, of_token in enumerate(groups[row].tolist()) if of_token == group]
            expected = torch.stack([states[row, n] for n in members]).mean(0) if members else torch.zeros(5)
            assert_close(found[row, group], expected.double())


@pytest.mark.parametrize(("side", "groups", "mask"), SIDES)
def test_operands_of_relations_are_means(side, groups, mask):
    states = attention(groups.shape[1], mask, padding=torch.nan)
    found = GROUPS.attention(states, side, probabilities=False)
    for operand, of_groups in zip(states[:3], found[:3], strict=True):
        for head in range(2):
            assert_close(of_groups[:, head], GROUPS.hidden(operand[:, head], side))
    assert found.scale == states.scale


@pytest.mark.parametrize("form", ["scores", "window", "used"])
@pytest.mark.parametrize(("side", "groups", "mask"), SIDES)
def test_probabilities_are_summed_over_keys_and_averaged_over_queries(side, groups, mask, form):
    length = groups.shape[1]
    near = (torch.arange(length)[:, None] - torch.arange(length)).abs() <= 3
    states = attention(length, mask, allowed=near[None, None] if form == "window" else None)
    keep = mask.bool()[:, None, None, :] & (near if form == "window" else torch.ones_like(near))
    scores = torch.einsum("bhid,bhjd->bhij", states.query, states.key) * states.scale
    probs = scores.masked_fill(~keep, -torch.inf).softmax(-1)
    if form == "used":
        states = states._replace(used=probs, query=states.query * torch.nan)
    features = Features()
    features.on_attention(1, GROUPS.attention(states, side, probabilities=True))
    found = features.attention_probs(1)
    for row in range(2):
        numbers = groups[row].tolist()
        count = int(REAL[row].sum())
        expected = torch.zeros(2, count, count, dtype=torch.float64)
        for i, query in enumerate(numbers):
            for j, key in enumerate(numbers):
                if query >= 0 and key >= 0:
                    expected[:, query, key] += probs[row, :, i, j] / numbers.count(query)
        expected /= expected.sum(-1, keepdim=True)  # what went to tokens of no group is nobody's
        assert_close(found[row, :, :count, :count], expected, atol=1e-9, rtol=1e-6)


def one_to_one(length=5, lengths=(5, 3)):
    real = torch.arange(length) < torch.tensor(lengths)[:, None]
    numbers = torch.arange(length).expand(2, -1).masked_fill(~real, -1)
    return TokenGroups(Grouped(numbers, real), Grouped(numbers, real), real), real


@pytest.mark.parametrize("window", [False, True])
@pytest.mark.parametrize(
    "loss", [losses.AttentionKL(), losses.RelationKL(), losses.ValueRelation()], ids=lambda loss: type(loss).__name__
)
def test_groups_of_one_token_each_give_the_loss_and_gradient_of_the_tokens(loss, window):
    groups, real = one_to_one()
    near = (torch.arange(5)[:, None] - torch.arange(5)).abs() <= 2
    allowed = near[None, None] if window else None
    teacher = attention(5, real, allowed=allowed)
    results = []
    for grouped in (False, True):
        student = attention(5, real, width=4, allowed=allowed)
        operands = [x.clone().requires_grad_() for x in student[:3]]
        own, its = student._replace(query=operands[0], key=operands[1], value=operands[2]), teacher
        if grouped:
            own = groups.attention(own, "student", probabilities=loss.compares_scores)
            its = groups.attention(its, "teacher", probabilities=loss.compares_scores)
        value = loss(own, its, real)
        results.append((value, *torch.autograd.grad(value, operands, allow_unused=True)))
    for plain, by_groups in zip(*results, strict=True):
        if plain is None or by_groups is None:
            assert plain is by_groups
        else:
            assert_close(plain, by_groups, atol=1e-7, rtol=1e-5)
    assert results[0][0] > 1e-3


def test_hidden_states_of_groups_of_one_token_each_are_those_of_the_tokens():
    groups, real = one_to_one()
    states = torch.randn(2, 5, 4)
    assert torch.equal(groups.hidden(states, "student")[real], states[real])


def test_half_precision_is_averaged_in_full():
    groups, _ = one_to_one()
    assert groups.hidden(torch.randn(2, 5, 4).half(), "teacher").dtype == torch.float32


def test_autocast_does_not_average_in_half_precision():
    torch.manual_seed(0)
    hidden, states = torch.randn(2, 7, 3), attention(7, MASK_T)
    states = states._replace(**{name: getattr(states, name).float() for name in ("query", "key", "value")})

    def of_groups():
        probabilities, means = (GROUPS.attention(states, "teacher", probabilities=form) for form in (True, False))
        return GROUPS.hidden(hidden, "teacher"), probabilities.query, means.query

    plain = of_groups()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        lowered = of_groups()
    for one, other in zip(plain, lowered, strict=True):
        assert torch.equal(one, other)
