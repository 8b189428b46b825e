"""Aligned heads against the maps that they stand for, written out."""

import math

import pytest
import torch
from support.pairs import lengths_mask, window
from support.refused import refused_as

from kdfeatures.alignment import (
    HeadMatches,
    HeadSizes,
    HungarianHeads,
    LearnedHeads,
    MeanHeads,
    RelationHeads,
    SameHeads,
)
from kdfeatures.analysis.head_matching import match_heads
from kdfeatures.errors import UserError
from kdfeatures.features import AttentionStates
from kdfeatures.losses import AttentionKL, AttentionScoreMSE
from kdfeatures.mapping.pairs import CandidatePair, LayerPair

B, L, H_S, D_S, H_T, D_T = 3, 7, 3, 4, 2, 9
PAIR, OTHER = LayerPair(1, 2), LayerPair(2, 3)
SIZES = HeadSizes(H_S, H_S * D_S, H_T, H_T * D_T)
MASK = lengths_mask([7, 3, 5], L)


def states(heads, width, scale, seed, *, trained=False, allowed=None):
    generator = torch.Generator().manual_seed(seed)
    operands = [torch.randn(B, heads, L, width, generator=generator, dtype=torch.float64) for _ in range(3)]
    return AttentionStates(*(x.requires_grad_(trained) for x in operands), scale, allowed)


def student(**more):
    return states(H_S, D_S, 0.5, 0, trained=True, **more)


def teacher(**more):
    return states(H_T, D_T, 1 / 3, 1, **more)


def matched(made):
    similarity = torch.tensor([[0.1, 0.9], [0.2, 0.3], [0.8, 0.7]])
    matching = match_heads(similarity)
    found = HeadMatches(matching.pairs, matching.on(similarity / 2))
    made.fit({pair: found for pair in (PAIR, OTHER)})
    return made  # student heads 0 and 2 with teacher heads 1 and 0


def made(kind, **options):
    built = kind((PAIR, OTHER), SIZES, **options).double()
    if kind is LearnedHeads:
        generator = torch.Generator().manual_seed(2)
        for mix in built.mix.values():
            torch.nn.init.normal_(mix, generator=generator)
    return matched(built) if kind is HungarianHeads else built


def split(x, heads):
    """(B, H, L, d) -> (B, heads, L, H d / heads), with loops."""
    flat = torch.cat(list(x.unbind(1)), dim=-1)
    return torch.stack(flat.split(flat.shape[-1] // heads, dim=-1), dim=1)


def maps_of(kind, given_s, given_t, alignment):
    """The scores (B, heads, L, L) of both sides as the alignments define them."""
    scores_s, scores_t = (torch.einsum("bhld,bhmd->bhlm", x.query, x.key) * x.scale for x in (given_s, given_t))
    if kind is MeanHeads:
        return scores_s.mean(1, keepdim=True), scores_t.mean(1, keepdim=True)
    if kind is LearnedHeads:
        mix = alignment.mix["1_to_2"]
        return torch.stack([sum(mix[t, s] * scores_s[:, s] for s in range(H_S)) for t in range(H_T)], 1), scores_t
    if kind is HungarianHeads:
        return scores_s[:, [0, 2]], scores_t[:, [1, 0]]
    count, _ = alignment.compared_heads
    return tuple(
        torch.einsum("bhld,bhmd->bhlm", split(x.query, count), split(x.key, count)) / math.sqrt(width / count)
        for x, width in ((given_s, H_S * D_S), (given_t, H_T * D_T))
    )


KINDS = {
    "mean": (MeanHeads, {}),
    "relation": (RelationHeads, {"count": 6}),
    "learned": (LearnedHeads, {}),
    "hungarian": (HungarianHeads, {"measure": "divergence", "examples": 4}),
}


def gradients(value, given, alignment):
    inputs = [given.query, given.key, *alignment.parameters()]
    # a learned mix has one matrix a pair; the other pair's has no part in this
    return torch.autograd.grad(value, inputs, allow_unused=True)


@pytest.mark.parametrize("loss", [AttentionScoreMSE(), AttentionScoreMSE(centered=True), AttentionKL()], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_a_loss_on_aligned_heads_is_that_on_their_maps_in_value_and_gradient(kind, loss):
    kind, options = KINDS[kind]
    alignment, given = made(kind, **options), student()
    value = loss(*alignment(PAIR, given, teacher(), MASK), MASK)
    scores_s, scores_t = maps_of(kind, given, teacher(), alignment)
    rows = []
    for b, n in enumerate(MASK.sum(1).tolist()):
        s, t = scores_s[b, :, :n, :n], scores_t[b, :, :n, :n]
        if isinstance(loss, AttentionKL):
            rows.append((t.softmax(-1) * (t.log_softmax(-1) - s.log_softmax(-1))).sum(-1).mean())
        else:
            off = s - t
            rows.append(((off - off.mean(-1, keepdim=True)) if loss.centered else off).square().mean())
    expected = torch.stack(rows).mean()
    torch.testing.assert_close(value, expected)
    for found, wanted in zip(gradients(value, given, alignment), gradients(expected, given, alignment), strict=True):
        assert (found is None) == (wanted is None)
        if found is not None:
            torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_does_not_reach_aligned_heads(kind):
    kind, options = KINDS[kind]
    alignment, given = made(kind, **options), student()
    broken = [
        x._replace(**{name: torch.where(MASK[:, None, :, None], getattr(x, name), torch.nan) for name in x._fields[:3]})
        for x in (given, teacher())
    ]
    value = AttentionScoreMSE()(*alignment(PAIR, *broken, MASK), MASK)
    torch.testing.assert_close(value, AttentionScoreMSE()(*alignment(PAIR, given, teacher(), MASK), MASK))
    for found in gradients(value, given, alignment):
        assert found is None or found.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_models_may_not_attend_to_does_not_count(kind):
    kind, options = KINDS[kind]
    alignment, keep = made(kind, **options), window(2, L)
    seen = {"allowed": keep.expand(B, 1, L, L)}
    given, theirs = student(**seen), teacher(**seen)
    scores = [torch.where(keep, x, 0) for x in maps_of(kind, given, theirs, alignment)]
    pairs = keep & MASK[:, None, :] & MASK[:, :, None]
    off = torch.where(pairs[:, None], scores[0] - scores[1], 0).square().mean(1)
    expected = (off.sum((1, 2)) / pairs.sum((1, 2))).mean()
    torch.testing.assert_close(AttentionScoreMSE()(*alignment(PAIR, given, theirs, MASK), MASK), expected)


@pytest.mark.parametrize("kind", ["mean", "relation", "learned"])
def test_heads_that_see_different_tokens_cannot_be_mixed(kind):
    kind, options = KINDS[kind]
    differ = torch.stack([window(reach, L) for reach in range(H_S)]).expand(B, -1, -1, -1)
    with pytest.raises(UserError, match="attend to different tokens and cannot be mixed; use heads=hungarian"):
        made(kind, **options)(PAIR, student(allowed=differ), teacher(), MASK)


def test_matched_heads_keep_what_each_may_attend_to():
    differ = torch.stack([window(reach, L) for reach in range(H_S)]).expand(B, -1, -1, -1)
    alignment = made(HungarianHeads, measure="cka", examples=4)
    found, _ = alignment(PAIR, student(allowed=differ), teacher(), MASK)
    assert torch.equal(found.allowed, differ[:, [0, 2]])


def test_matched_heads_keep_the_position_terms_of_each():
    """Of MPNet's kind, where a head adds its own to the scores: they go with the head."""
    generator = torch.Generator().manual_seed(5)
    bias = torch.randn(B, H_S, L, L, generator=generator)
    alignment = made(HungarianHeads, measure="cka", examples=4)
    found, _ = alignment(PAIR, student()._replace(bias=bias), teacher(), MASK)
    assert torch.equal(found.bias, bias[:, [0, 2]])


def test_the_same_heads_are_compared_as_they_are():
    one, other = student(), teacher()
    alignment = SameHeads((PAIR,), SIZES)
    assert alignment(PAIR, one, other, MASK) == (one, other) and alignment.compared_heads == (H_S, H_T)


def test_a_learned_mix_begins_as_the_mean_and_is_one_of_each_pair():
    alignment = LearnedHeads((PAIR, OTHER), SIZES)
    assert {name: tuple(mix.shape) for name, mix in alignment.mix.items()} == {"1_to_2": (2, 3), "2_to_3": (2, 3)}
    given = student()
    mean, _ = MeanHeads((PAIR,), SIZES)(PAIR, given, teacher(), None)
    mixed, _ = alignment.double()(PAIR, given, teacher(), None)
    expected = mean.attention.scores().expand(-1, 2, -1, -1)
    torch.testing.assert_close(mixed.attention.scores(), expected)


def test_a_matching_is_kept_with_the_weights_of_a_run_and_told():
    fitted, fresh = (HungarianHeads((PAIR, OTHER), SIZES, measure="cka", examples=4) for _ in range(2))
    matched(fitted)
    fresh.load_state_dict(fitted.state_dict())
    one = {"pairs": [[0, 1], [2, 0]], "similarity": [0.45, 0.4]}  # on texts that it was not fitted to
    assert fresh.state() == fitted.state() == {"1_to_2": one, "2_to_3": one}


def test_candidates_of_a_moving_map_share_a_mix():
    assert list(LearnedHeads((CandidatePair(1, 2), CandidatePair(1, 3)), SIZES).state()) == ["1_to_any"]


@pytest.mark.parametrize(
    ("kind", "options", "told", "at"),
    [
        (
            RelationHeads,
            {"count": 4},
            r"count=4 must divide both attention widths, 12 .* and 18 .*; 6 and its",
            "heads.",
        ),
        (RelationHeads, {"count": 0}, "count=0 must divide", "heads."),
        (HungarianHeads, {"measure": "ckaa", "examples": 4}, "the measure ckaa is unknown; did you mean 'cka'", ""),
        (HungarianHeads, {"measure": "cka", "examples": 3}, "examples=3 must be at least 4", "heads."),
    ],
)
def test_options_that_do_not_fit_are_named(kind, options, told, at):
    with refused_as(f"^{told}", "heads", f"{at}{told}"):
        kind((PAIR,), SIZES, **options)
