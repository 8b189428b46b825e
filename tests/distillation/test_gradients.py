import pytest
import torch
from support.refused import refused_as
from support.runs_for_tests import small_distiller
from support.tiny import tiny_batch
from torch import nn

from kdfeatures.distillation.gradients import check_measurable, gradient_norms, measure_terms


def batch():
    torch.manual_seed(3)
    return tiny_batch() | {"labels": torch.tensor([0, 1, 1])}


def measured(distiller):
    distiller.objective.attached = {}
    distiller(**batch())
    values = distiller.objective.attached
    return dict(zip(values, measure_terms(values, distiller.student, distiller.objective.projections), strict=True))


def by_itself(name):
    """Value and norms of a term from a distiller that has no other, by .backward()."""
    distiller = small_distiller(terms=(name,)).train()
    loss = distiller(**batch()).loss / distiller.objective.weights[name]
    loss.backward()
    norms = []
    for module in (distiller.student, distiller.objective.projections):
        norms.append(sum(p.grad.square().sum() for p in module.parameters() if p.grad is not None) ** 0.5)
    return torch.stack([loss.detach(), *map(torch.as_tensor, norms)])


def test_each_terms_norms_are_those_of_the_term_alone():
    for name, found in measured(small_distiller().train()).items():
        torch.testing.assert_close(found, by_itself(name), msg=name)


def test_measuring_changes_neither_the_gradient_that_follows_nor_the_next_random_numbers():
    plain, taken_apart = (small_distiller(dropout=0.1).train() for _ in range(2))
    inputs = batch()
    torch.manual_seed(1)
    plain(**inputs).loss.backward()
    following = torch.rand(1)
    torch.manual_seed(1)
    taken_apart.objective.attached = {}
    loss = taken_apart(**inputs).loss
    measure_terms(taken_apart.objective.attached, taken_apart.student, taken_apart.objective.projections)
    assert all(parameter.grad is None for parameter in taken_apart.parameters())
    loss.backward()
    assert torch.equal(torch.rand(1), following)
    for one, other in zip(plain.parameters(), taken_apart.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


def test_a_checkpointed_student_gives_the_same_norms():
    checkpointed = small_distiller().train()
    checkpointed.activation_checkpointing_enable()
    for (name, one), other in zip(
        measured(small_distiller().train()).items(), measured(checkpointed).values(), strict=True
    ):
        torch.testing.assert_close(one, other, msg=name)


def test_frozen_parameters_are_no_part_of_the_norm():
    distiller = small_distiller().train()
    distiller.student.bert.embeddings.requires_grad_(False)
    frozen, whole = measured(distiller), measured(small_distiller().train())
    assert all(0 < frozen[name][1] < whole[name][1] for name in whole)


def test_without_a_path_the_norm_is_zero():
    x, unused = (nn.Parameter(torch.ones(3)) for _ in range(2))
    assert gradient_norms((2 * x).sum(), [[x], [unused], []]) == [pytest.approx(12**0.5), 0, 0]
    assert gradient_norms(torch.ones(()), [[x], []]) == [0, 0]


def test_a_graph_is_kept_only_where_it_was_asked_for():
    distiller = small_distiller().train()
    distiller(**batch())
    assert distiller.objective.attached is None


@pytest.mark.parametrize("setting", ["fsdp", "torch_compile"])
def test_what_gives_no_gradient_by_term_is_named_where_one_is_asked_for(setting):
    trained = {"sharded": False, "compiled": False}
    check_measurable(**trained, balanced=True, explained=True)
    way, named = {"fsdp": ("sharded", "FSDP"), "torch_compile": ("compiled", "torch.compile")}[setting]
    trained[way] = True
    check_measurable(**trained, balanced=False, explained=False)
    for asked, option in (("balanced", "balance=shares"), ("explained", "explain=true")):
        with refused_as(f"^terms that are {asked} .*{named}", None, f"^{option} .*trainer.{setting}=true"):
            check_measurable(**trained, **{"balanced": False, "explained": False, asked: True})
