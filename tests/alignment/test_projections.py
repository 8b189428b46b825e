import numpy as np
import pytest
import torch
from support.refused import refused_as

from kdfeatures.alignment import LinearProjections, OrthonormalProjections, PcaProjections
from kdfeatures.mapping.pairs import LayerPair

PAIRS = (LayerPair(0, 0), LayerPair(1, 2), LayerPair(2, 4))
NARROW, WIDE = 6, 10


def linear(student=NARROW, teacher=WIDE, *, shared=False, bias=True, always=False):
    return LinearProjections(PAIRS, student, teacher, shared=shared, bias=bias, always=always)


def states(width, tokens=7):
    return torch.randn(3, tokens, width)


def spread_states(layers=(0, 2, 4), tokens=500):
    """Teacher states per layer with a few strong directions, far from the origin: what a projection may lose."""
    scales = torch.logspace(1, -1, WIDE)
    return {n: torch.randn(tokens, WIDE) * scales @ torch.randn(WIDE, WIDE) + 20 * n + 5 for n in layers}


def fitted(hidden):
    projections = PcaProjections(PAIRS, NARROW, WIDE, examples=256)
    return projections, projections.fit(hidden)


def variance(tokens):
    return tokens.var(0).sum()


def test_linear_gives_every_pair_its_own_map_to_the_teachers_width():
    projections = linear()
    assert len(list(projections.parameters())) == 2 * len(PAIRS)
    student, teacher = states(NARROW), states(WIDE)
    results = [projections(pair, student, teacher) for pair in PAIRS]
    for mapped, target in results:
        assert mapped.shape == target.shape and target is teacher
    assert not torch.allclose(results[0][0], results[1][0])


def test_linear_is_an_affine_map_of_the_student():
    projections, student = linear(), states(NARROW)
    own = projections.linear["1_to_2"]
    mapped, _ = projections(LayerPair(1, 2), student, states(WIDE))
    torch.testing.assert_close(mapped, torch.einsum("bls,ts->blt", student, own.weight) + own.bias)


def test_a_shared_map_is_the_same_for_all_pairs():
    projections, student, teacher = linear(shared=True), states(NARROW), states(WIDE)
    assert len(list(projections.parameters())) == 2
    first, second = (projections(pair, student, teacher)[0] for pair in PAIRS[:2])
    assert torch.equal(first, second)


def test_without_bias_zero_stays_zero():
    projections = linear(bias=False)
    assert not projections(PAIRS[0], torch.zeros(1, 2, NARROW), states(WIDE))[0].any()


def test_equal_widths_need_no_map():
    projections, student, teacher = linear(WIDE, WIDE), states(WIDE), states(WIDE)
    assert not list(projections.parameters())
    assert projections(PAIRS[1], student, teacher) == (student, teacher)


def test_always_learns_a_map_between_equal_widths():
    projections, student = linear(WIDE, WIDE, always=True), states(WIDE)
    assert len(list(projections.parameters())) == 2 * len(PAIRS)
    assert not torch.equal(projections(PAIRS[1], student, states(WIDE))[0], student)


def test_a_student_wider_than_its_teacher_can_be_projected_by_linear_only():
    assert linear(WIDE, NARROW)(PAIRS[0], states(WIDE), states(NARROW))[0].shape[-1] == NARROW
    for made in (
        lambda: OrthonormalProjections(PAIRS, WIDE, NARROW, seed=0),
        lambda: PcaProjections(PAIRS, WIDE, NARROW, examples=9),
    ):
        with refused_as(r"wider \(10 against 6\); use linear", None, r"wider \(10 against 6\); use projection=linear"):
            made()


def test_orthonormal_columns_are_orthonormal():
    basis = OrthonormalProjections(PAIRS, NARROW, WIDE, seed=0).basis
    torch.testing.assert_close(basis.T @ basis, torch.eye(NARROW))


def test_orthonormal_keeps_the_share_of_the_variance_that_the_widths_allow_on_average():
    hidden = spread_states()[4].double()
    hidden = hidden - hidden.mean(0)
    shares = []
    for seed in range(300):
        basis = OrthonormalProjections(PAIRS, NARROW, WIDE, seed=seed).basis.double()
        shares.append(variance(hidden @ basis) / variance(hidden))
    assert torch.stack(shares).mean().item() == pytest.approx(NARROW / WIDE, abs=0.04)


def test_orthonormal_of_equal_widths_keeps_every_distance():
    projections, teacher = OrthonormalProjections(PAIRS, WIDE, WIDE, seed=0), states(WIDE)
    _, turned = projections(PAIRS[0], states(WIDE), teacher)
    torch.testing.assert_close(torch.cdist(turned, turned), torch.cdist(teacher, teacher), rtol=1e-4, atol=1e-4)


def test_orthonormal_follows_its_own_seed_and_leaves_torchs_alone():
    before = torch.get_rng_state()
    first, again, other = (OrthonormalProjections(PAIRS, NARROW, WIDE, seed=seed).basis for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("layer", [0, 2, 4])
def test_pca_keeps_as_much_variance_as_the_singular_values_say(layer):
    hidden = spread_states()
    projections, kept = fitted(hidden)
    centred = hidden[layer].double().numpy()
    singular = np.linalg.svd(centred - centred.mean(0), compute_uv=False) ** 2
    expected = singular[:NARROW].sum() / singular.sum()
    assert kept[layer] == pytest.approx(expected, rel=1e-6)
    pair = next(pair for pair in PAIRS if pair.teacher == layer)
    targets = projections(pair, states(NARROW), hidden[layer])[1]
    assert (variance(targets) / variance(hidden[layer])).item() == pytest.approx(expected, rel=1e-4)


def test_pca_targets_do_not_collapse_where_a_random_direction_would_lose_more():
    hidden = spread_states()
    projections, _ = fitted(hidden)
    random = OrthonormalProjections(PAIRS, NARROW, WIDE, seed=0)
    for pair in PAIRS:
        whole = variance(hidden[pair.teacher])
        by_pca, by_chance = (variance(p(pair, None, hidden[pair.teacher])[1]) / whole for p in (projections, random))
        assert by_pca > 0.9 and by_pca > by_chance


def test_pca_targets_are_centred_and_uncorrelated_with_the_strongest_direction_first():
    hidden = spread_states()
    projections, _ = fitted(hidden)
    targets = projections(LayerPair(1, 2), None, hidden[2])[1].double()
    covariance = torch.cov(targets.T)
    torch.testing.assert_close(targets.mean(0), torch.zeros(NARROW).double(), atol=1e-3, rtol=0)
    assert torch.all(covariance.diagonal().diff() < 0)
    off_diagonal = covariance - covariance.diagonal().diag()
    assert off_diagonal.abs().max() < 1e-3 * covariance.max()


def test_pca_basis_is_orthonormal_for_each_layer():
    projections, _ = fitted(spread_states())
    bases = [projections.get_buffer(f"basis_{layer}") for layer in (0, 2, 4)]
    for basis in bases:
        torch.testing.assert_close(basis.T @ basis, torch.eye(NARROW))
    assert not torch.allclose(bases[0], bases[1])


def test_pca_before_fitting_gives_nan_and_never_a_wrong_target():
    projections = PcaProjections(PAIRS, NARROW, WIDE, examples=256)
    assert projections(PAIRS[0], None, states(WIDE))[1].isnan().all()


def test_pca_refuses_fewer_tokens_than_directions_with_both_numbers():
    hidden = {layer: torch.randn(NARROW, WIDE) for layer in (0, 2, 4)}
    told = "more than 6 tokens .* 256 examples gave 6; raise"
    with refused_as(f"{told} examples", None, f"{told} projection.examples"):
        fitted(hidden)


@pytest.mark.parametrize(
    "make",
    [
        linear,
        lambda: OrthonormalProjections(PAIRS, NARROW, WIDE, seed=int(torch.randint(1 << 30, ()))),
        lambda: fitted(spread_states())[0],
    ],
    ids=["linear", "orthonormal", "pca"],
)
def test_the_state_dict_restores_the_projections(make):
    trained, fresh = make(), make()
    student, teacher = states(NARROW), states(WIDE)
    before = [torch.cat(trained(pair, student, teacher), -1) for pair in PAIRS]
    assert not torch.equal(before[0], torch.cat(fresh(PAIRS[0], student, teacher), -1))
    fresh.load_state_dict(trained.state_dict())
    for pair, expected in zip(PAIRS, before, strict=True):
        assert torch.equal(torch.cat(fresh(pair, student, teacher), -1), expected)


@pytest.mark.parametrize(
    "make", [lambda: OrthonormalProjections(PAIRS, NARROW, WIDE, seed=0), lambda: fitted(spread_states())[0]]
)
def test_frozen_projections_have_nothing_to_learn_and_leave_the_student_as_it_is(make):
    projections, student = make(), states(NARROW)
    assert not list(projections.parameters())
    assert projections(PAIRS[0], student, states(WIDE))[0] is student


def test_frozen_projections_follow_the_teachers_precision():
    for projections in (OrthonormalProjections(PAIRS, NARROW, WIDE, seed=0), fitted(spread_states())[0]):
        assert projections(PAIRS[0], None, states(WIDE).bfloat16())[1].dtype == torch.bfloat16
