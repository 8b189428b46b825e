import math

import pytest
import torch

from kdfeatures.analysis.head_matching import match_heads
from kdfeatures.analysis.head_similarity import MEASURES, HeadSimilarity, shuffled
from kdfeatures.errors import UserError
from kdfeatures.features import AttentionStates

B, L, H_S, H_T = 4, 9, 3, 5
MASK = torch.arange(L) < torch.tensor([[9], [4], [6], [8]])


def states(heads, width, seed, scale=0.5):
    generator = torch.Generator().manual_seed(seed)
    operands = (torch.randn(B, heads, L, width, generator=generator, dtype=torch.float64) for _ in range(3))
    return AttentionStates(*operands, scale)


def heads_of(given, order):
    return given._replace(**{name: getattr(given, name)[:, order] for name in ("query", "key", "value")})


def similarity(measure, student, teacher, mask=MASK):
    made = HeadSimilarity(measure)
    made.update(student, teacher, mask)
    return made.compute()


def one(measure, student, teacher, s, t):
    """The measure for one pair of heads, with loops over sequences and rows."""
    values, first, second = [], [], []
    for b in range(B):
        n = int(MASK[b].sum())
        scores = [
            given.query[b, h, :n] @ given.key[b, h, :n].T * given.scale for given, h in ((student, s), (teacher, t))
        ]
        if measure == "correlation":
            first.append((scores[0] - scores[0].mean(1, keepdim=True)).flatten())
            second.append((scores[1] - scores[1].mean(1, keepdim=True)).flatten())
        elif measure == "divergence":
            p, q = (x.softmax(-1) for x in scores)
            middle = (p + q) / 2
            rows = 0.5 * (p * (p / middle).log()).sum(1) + 0.5 * (q * (q / middle).log()).sum(1)
            values.append(rows.mean())
    if measure == "divergence":
        return 1 - torch.stack(values).mean() / math.log(2)
    return torch.corrcoef(torch.stack([torch.cat(first), torch.cat(second)]))[0, 1]


@pytest.mark.parametrize("measure", ["divergence", "correlation"])
def test_every_pair_equals_the_measure_computed_row_by_row(measure):
    student, teacher = states(H_S, 4, 0), states(H_T, 6, 1)
    found = similarity(measure, student, teacher)
    assert found.shape == (H_S, H_T)
    for s in range(H_S):
        for t in range(H_T):
            torch.testing.assert_close(found[s, t], one(measure, student, teacher, s, t))


@pytest.mark.parametrize("measure", MEASURES)
def test_a_head_is_equal_to_itself_wherever_it_stands(measure):
    teacher, order = states(H_T, 6, 1), [4, 0, 2]
    found = similarity(measure, heads_of(teacher, order), teacher)
    for s, t in enumerate(order):
        assert found[s, t].item() == pytest.approx(1)
    assert match_heads(found).pairs == ((0, 4), (1, 0), (2, 2))
    assert found.max() <= 1 + 1e-9


@pytest.mark.parametrize("measure", MEASURES)
def test_padding_may_hold_anything(measure):
    student, teacher = states(H_S, 4, 0), states(H_T, 6, 1)
    expected = similarity(measure, student, teacher)
    padded = [
        given._replace(
            **{
                name: torch.where(MASK[:, None, :, None], getattr(given, name), torch.nan)
                for name in ("query", "key", "value")
            }
        )
        for given in (student, teacher)
    ]
    torch.testing.assert_close(similarity(measure, *padded), expected)


@pytest.mark.parametrize("measure", ["divergence", "correlation"])
def test_batches_add_up_to_the_whole(measure):
    student, teacher = states(H_S, 4, 0), states(H_T, 6, 1)
    made = HeadSimilarity(measure)
    for part in (slice(0, 1), slice(1, 4)):
        cut = [
            given._replace(**{name: getattr(given, name)[part] for name in ("query", "key", "value")})
            for given in (student, teacher)
        ]
        made.update(*cut, MASK[part])
    torch.testing.assert_close(made.compute(), similarity(measure, student, teacher))


def test_probabilities_that_the_model_gives_itself_are_taken():
    teacher = states(H_T, 6, 1)
    scores = teacher.attention.scores().masked_fill(~MASK[:, None, None], -torch.inf)
    given = teacher._replace(used=scores.softmax(-1), query=torch.zeros_like(teacher.query), positional=True)
    assert similarity("divergence", given, teacher).diagonal() == pytest.approx(1)


def test_shuffled_texts_are_less_alike():
    teacher = states(H_T, 6, 1)
    other, mask = shuffled(teacher, MASK)
    torch.testing.assert_close(other.query[1], teacher.query[0])
    null = similarity("divergence", teacher, other, MASK & mask)
    same = similarity("divergence", teacher, teacher)
    assert null.diagonal().max() < same.diagonal().min()


def test_mistakes_are_told():
    with pytest.raises(UserError, match="measure divergance is unknown; did you mean 'divergence'"):
        HeadSimilarity("divergance")
    with pytest.raises(UserError, match="call update first"):
        HeadSimilarity("cka").compute()
    with pytest.raises(UserError, match="feed both one batch"):
        HeadSimilarity("cka").update(
            states(2, 4, 0), shuffled(states(2, 4, 0), MASK)[0]._replace(query=torch.zeros(1, 2, 3, 4)), None
        )
    with pytest.raises(UserError, match="one text cannot be shuffled"):
        shuffled(states(2, 4, 0), MASK[:1])
