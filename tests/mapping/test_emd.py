import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from support.moving import moving_map

from kdfeatures.mapping.emd import transport_plan


def cheapest_of_all(costs, parts):
    """The least cost of M parts of weight k / (M k) each to N of k' each, by trying all ways of handing over units."""
    students, teachers = costs.shape
    units_s = [s for s in range(students) for _ in range(parts // students)]
    units_t = [t for t in range(teachers) for _ in range(parts // teachers)]
    return (
        min(sum(costs[s, t] for s, t in zip(units_s, order, strict=True)) for order in itertools.permutations(units_t))
        / parts
    )


@pytest.mark.parametrize(("students", "teachers", "parts"), [(2, 3, 6), (3, 6, 6), (1, 4, 4), (3, 3, 3), (6, 2, 6)])
def test_the_plan_costs_no_more_than_any_other(students, teachers, parts):
    costs = np.random.default_rng(students).uniform(0.1, 3, (students, teachers))
    rows, columns = np.full(students, 1 / students), np.full(teachers, 1 / teachers)
    flow = transport_plan(costs, rows, columns)
    assert flow.min() >= 0
    np.testing.assert_allclose(flow.sum(1), rows, atol=1e-9)
    np.testing.assert_allclose(flow.sum(0), columns, atol=1e-9)
    assert (flow * costs).sum() == pytest.approx(cheapest_of_all(costs, parts))


@pytest.mark.parametrize("evenness", [0.1, 5])
def test_the_plan_of_any_weights_costs_what_the_linear_program_says(evenness):
    generator = np.random.default_rng(0)
    for students, teachers in ((1, 4), (2, 3), (6, 12), (12, 6)):
        costs = generator.uniform(0.1, 3, (students, teachers))
        rows, columns = (generator.dirichlet(np.full(count, evenness)) for count in costs.shape)
        sums = [np.kron(np.eye(students), np.ones(teachers)), np.kron(np.ones(students), np.eye(teachers))]
        solution = linprog(costs.ravel(), A_eq=np.concatenate(sums), b_eq=np.concatenate([rows, columns]))
        flow = transport_plan(costs, rows, columns)
        assert (flow * costs).sum() == pytest.approx(solution.fun)
        np.testing.assert_allclose(flow.sum(1), rows, atol=1e-12)
        np.testing.assert_allclose(flow.sum(0), columns, atol=1e-12)


def test_the_plan_of_tiny_or_equal_costs_is_one_all_the_same():
    for costs in (np.full((2, 3), 1e-9), np.zeros((2, 3)), np.random.default_rng(0).uniform(1, 2, (2, 3)) * 1e-12):
        flow = transport_plan(costs, np.array([0.25, 0.75]), np.full(3, 1 / 3))
        np.testing.assert_allclose(flow.sum(1), [0.25, 0.75])
    costs = np.array([[2e-12, 1e-12], [1e-12, 2e-12]])
    np.testing.assert_allclose(transport_plan(costs, np.full(2, 0.5), np.full(2, 0.5)), [[0, 0.5], [0.5, 0]], atol=1e-9)


COSTS = [
    [1.0, 3.0, 3.0, 9.0],
    [5.0, 2.0, 4.0, 1.0],
]  # with equal weights: layer 1 from 1 and 2 or 3, layer 2 from the others


def test_the_weights_are_the_flow_times_the_student_layers():
    made = moving_map("emd", 2, 4, update=False)
    weights = 2 * torch.tensor([[1.0, 0, 1, 0], [0, 1, 0, 1]]) / 4
    torch.testing.assert_close(made.weights_from_costs(torch.tensor(COSTS)), weights)
    torch.testing.assert_close(made.weights(), weights)


def test_cheap_layers_gain_weight_as_in_the_paper():
    made = moving_map("emd", 2, 4)
    made.weights_from_costs(torch.tensor(COSTS))
    # layer 1 pays (1 + 3) / 4 for its half, layer 2 (2 + 1) / 4; the teacher's 1, 2, 3 and 1 for a quarter each
    student, teacher = [1 / 2, 2 / 3], [1 / 1, 1 / 2, 1 / 3, 1 / 1]
    torch.testing.assert_close(made.student_weights, torch.tensor([s / sum(student) for s in student]))
    torch.testing.assert_close(made.teacher_weights, torch.tensor([t / sum(teacher) for t in teacher]))
    made.weights_from_costs(torch.tensor(COSTS))
    assert made.weights().sum().item() == pytest.approx(2)  # of all rows the mean sum is 1


def test_a_layer_that_costs_nothing_does_not_take_all():
    made = moving_map("emd", 2, 2)
    made.weights_from_costs(torch.tensor([[0.0, 5.0], [5.0, 1.0]]))
    assert 0 < made.student_weights[1] < 0.01 and made.student_weights.sum().item() == pytest.approx(1)


def test_costs_that_are_not_finite_stay_so_and_leave_the_weights_alone():
    made = moving_map("emd", 2, 2)
    costs = torch.tensor([[torch.nan, 1.0], [1.0, 2.0]])
    assert (made.weights_from_costs(costs) * costs).sum().isnan()
    torch.testing.assert_close(made.student_weights, torch.tensor([0.5, 0.5]))
