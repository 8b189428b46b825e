"""Heads of two models compared over batches: matched on some, reported on others."""

import copy

import pytest
import torch
from support.tiny import decided, tiny_batch, tiny_classifier

from kdfeatures.analysis.compare_heads import compare_heads
from kdfeatures.errors import UserError
from kdfeatures.mapping.pairs import LayerPair

ORDER = [2, 0, 3, 1]


def batches(count=4):
    torch.manual_seed(3)
    return [tiny_batch((9, 5, 7)) for _ in range(count)]


def teacher():
    torch.manual_seed(1)
    return decided(tiny_classifier(layers=3))


@torch.no_grad()
def with_heads_in(model, order, layer):
    """Return a copy whose heads of one layer stand in another order, so that its outputs are the same."""
    made = copy.deepcopy(model)
    attention = made.base_model.encoder.layer[layer - 1].attention
    width = attention.self.query.weight.shape[0] // len(order)
    rows = torch.cat([torch.arange(width) + head * width for head in order])
    for name in ("query", "key", "value"):
        own = getattr(attention.self, name)
        own.weight.copy_(own.weight[rows].clone())
        own.bias.copy_(own.bias[rows].clone())
    attention.output.dense.weight.copy_(attention.output.dense.weight[:, rows].clone())
    return made


@pytest.mark.parametrize("measure", ["divergence", "correlation", "cka"])
def test_heads_in_another_order_are_found(measure):
    found = compare_heads(with_heads_in(teacher(), ORDER, 2), teacher(), batches(), measures=[measure], pairs=[(2, 2)])
    own = found[measure][2, 2]
    assert own.matching.pairs == tuple(enumerate(ORDER))
    assert own.matched == pytest.approx(1, abs=1e-4)
    assert own.matched_null < 0.95 and own.any_pair < 0.95


def test_the_matching_sees_nothing_of_what_is_reported():
    student, texts = decided(tiny_classifier(layers=2, width=16, heads=2)), batches()
    other = [texts[0], tiny_batch((6, 8)), texts[2], tiny_batch((4, 9))]
    first, second = (
        compare_heads(student, teacher(), given, measures=["divergence"], pairs=[(1, 2)])["divergence"][1, 2]
        for given in (texts, other)
    )
    assert first.matching == second.matching
    torch.testing.assert_close(first.fitted, second.fitted)
    assert not torch.allclose(first.similarity, second.similarity)


def test_all_layers_with_all_and_any_number_of_heads():
    student = decided(tiny_classifier(layers=2, width=16, heads=2))
    found = compare_heads(student, teacher(), batches(2), measures=["divergence", "cka"])
    assert list(found) == ["divergence", "cka"]
    assert list(found["cka"]) == [LayerPair(s, t) for s in (1, 2) for t in (1, 2, 3)]
    one = found["cka"][2, 3]
    assert one.similarity.shape == one.null.shape == (2, 4)
    assert len(one.matching.unmatched_teacher) == 2 and not one.matching.unmatched_student


def test_margins_elsewhere_are_those_of_a_matching_made_there_where_the_pairs_agree():
    found = compare_heads(
        with_heads_in(teacher(), ORDER, 1), teacher(), batches(2), measures=["divergence"], pairs=[(1, 1)]
    )
    own = found["divergence"][1, 1]
    rest = own.similarity.clone()
    for pair in own.matching.pairs:
        rest[pair] = -1
    expected = [(own.similarity[s, t] - rest[s].max()).item() for s, t in own.matching.pairs]
    assert own.matching.margins_on(own.similarity) == pytest.approx(expected)


def test_mistakes_are_told():
    with pytest.raises(UserError, match="reported on others, but there is 1"):
        compare_heads(teacher(), teacher(), batches(1), measures=["cka"], pairs=[(1, 1)])
    with pytest.raises(UserError, match="measure ckaa is unknown"):
        compare_heads(teacher(), teacher(), batches(2), measures=["ckaa"])
    with pytest.raises(UserError, match="4"):
        compare_heads(teacher(), teacher(), batches(2), measures=["cka"], pairs=[(1, 4)])
