import pytest
import torch

from kdfeatures.losses import EnergyMap


def states(seed, width=11):
    return torch.randn(3, 7, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_official_code_takes_the_mean_over_positions():
    student, teacher = states(1), states(2, width=5)

    def at(x):  # the maps of (batch, channels, height, width) in the paper's code
        return torch.nn.functional.normalize(x.mT.pow(2).mean(1).view(len(x), -1))

    official = (at(student) - at(teacher)).pow(2).mean()
    torch.testing.assert_close(EnergyMap()(student, teacher, None), 7 * official)


def test_only_the_norms_of_the_tokens_relative_to_each_other_are_compared():
    student, teacher = states(1), states(2)
    rotated = 3 * student @ torch.linalg.qr(torch.randn(11, 11, dtype=torch.float64)).Q
    torch.testing.assert_close(EnergyMap()(rotated, teacher, None), EnergyMap()(student, teacher, None))


def test_maps_without_a_common_token_are_two_apart():
    student, teacher = torch.zeros(1, 2, 3), torch.zeros(1, 2, 4)
    student[0, 0], teacher[0, 1] = 1.0, 5.0
    assert EnergyMap()(student, teacher, None).item() == pytest.approx(2)
