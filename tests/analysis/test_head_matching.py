from itertools import permutations

import pytest
import torch

from kdfeatures.analysis.head_matching import match_heads
from kdfeatures.errors import UserError


@pytest.mark.parametrize(("heads_s", "heads_t"), [(3, 3), (3, 5), (5, 3)])
def test_no_other_matching_has_a_larger_sum(heads_s, heads_t):
    torch.manual_seed(0)
    similarity = torch.rand(heads_s, heads_t, dtype=torch.float64)
    found = match_heads(similarity)
    wide = similarity if heads_s <= heads_t else similarity.T
    best = max(sum(wide[s, t] for s, t in enumerate(order)) for order in permutations(range(wide.shape[1]), len(wide)))
    assert sum(found.similarity) == pytest.approx(best.item())
    assert len(found.pairs) == min(heads_s, heads_t)
    assert len(found.unmatched_student) == max(0, heads_s - heads_t)
    assert len(found.unmatched_teacher) == max(0, heads_t - heads_s)
    matched = {t for _, t in found.pairs}
    assert matched | set(found.unmatched_teacher) == set(range(heads_t))


def test_a_margin_is_negative_where_another_head_took_the_preferred_one():
    similarity = torch.tensor([[0.9, 0.2], [0.95, 0.8]])
    found = match_heads(similarity)
    assert found.pairs == ((0, 0), (1, 1))
    assert found.margins == pytest.approx((0.7, -0.15))


def test_the_pairs_can_be_read_off_another_split():
    found = match_heads(torch.eye(2))
    assert found.on(torch.tensor([[0.1, 0.2], [0.3, 0.4]])) == pytest.approx((0.1, 0.4))


def test_what_is_no_matrix_of_numbers_is_refused():
    with pytest.raises(UserError, match=r"not by \(2, 2\) with NaN"):
        match_heads(torch.full((2, 2), torch.nan))
    with pytest.raises(UserError, match=r"not by \(3,\)"):
        match_heads(torch.ones(3))
