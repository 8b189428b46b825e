import itertools

import pytest
import torch
from safetensors.torch import save_file
from support.refused import refused_as
from support.runs_for_tests import small_dataset
from support.tiny import tiny_classifier

from kdfeatures.data.synthetic import tokenizer
from kdfeatures.distillation.bound import BoundObjective
from kdfeatures.distillation.term import BoundTerm
from kdfeatures.errors import UserError
from kdfeatures.losses import HiddenMSE
from kdfeatures.mapping import CkaMap
from kdfeatures.mapping.cka import best_monotone
from kdfeatures.training.calibration import fit_maps
from kdfeatures.training.checkpoints import MAPS


def best_of_all(similarity):
    maps = itertools.combinations_with_replacement(range(1, len(similarity[0]) + 1), len(similarity))
    return max(maps, key=lambda one: sum(row[i - 1] for row, i in zip(similarity, one, strict=True)))


@pytest.mark.parametrize(("students", "teachers"), [(1, 1), (1, 5), (3, 6), (4, 4), (5, 2), (4, 7)])
def test_the_map_is_the_best_of_all_that_never_descend(students, teachers):
    for seed in range(20):
        random = torch.Generator().manual_seed(seed)
        similarity = (2 * torch.rand(students, teachers, generator=random, dtype=torch.float64) - 1).tolist()
        assert tuple(best_monotone(similarity)) == best_of_all(similarity)


def test_of_equal_maps_it_takes_the_lowest_layers():
    assert best_monotone([[1.0, 1.0], [1.0, 1.0]]) == [1, 1]


def objective_of(examples=20):
    made = CkaMap(2, 4, examples=examples, embeddings=True)
    return BoundObjective({"layers": BoundTerm(HiddenMSE(), 1.0, made.pairs, map=made)}, torch.nn.Identity())


def fit(objective, teacher, student, *, checkpoint=None):
    fit_maps(objective, student, {"main": teacher}, small_dataset(), tokenizer(), 0, checkpoint)


def test_fitting_leaves_the_chosen_pairs_and_asks_for_no_other_layer():
    teacher, student = tiny_classifier(layers=4), tiny_classifier(layers=2)
    objective = objective_of()
    assert objective.layers("hidden", "teacher") == [0, 1, 2, 3, 4]
    student.load_state_dict(teacher.state_dict(), strict=False)
    state = torch.get_rng_state()
    fit(objective, teacher, student)
    assert objective.terms["layers"].pairs == ((0, 0), (1, 1), (2, 2))
    assert objective.layers("hidden", "teacher") == [0, 1, 2]
    assert torch.equal(state, torch.get_rng_state())  # training draws what it would have drawn


def test_a_run_that_goes_on_takes_the_map_of_its_checkpoint(tmp_path):
    similarity = torch.tensor([[0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]], dtype=torch.float64)
    earlier, objective = objective_of(), objective_of()
    earlier.maps["layers"].fit(similarity)
    save_file(earlier.moving.state_dict(), tmp_path / MAPS)
    fit(objective, tiny_classifier(layers=4), tiny_classifier(layers=2), checkpoint=tmp_path)
    assert objective.terms["layers"].pairs == ((0, 0), (1, 3), (2, 4))


def test_a_stream_and_too_few_examples_are_refused():
    with pytest.raises(UserError, match="a stream cannot give"):
        objective_of().check_training(sharded=False, streaming=True)
    with refused_as("^examples=3 must be at least 4", "mapping", r"mapping.examples=3 must be at least 4"):
        objective_of(3)


def test_a_checkpoint_of_another_map_is_refused(tmp_path):
    told = "was written with another {}; resume with the same"
    with refused_as(told.format("layer map"), None, told.format("mapping")):
        fit(objective_of(), tiny_classifier(layers=4), tiny_classifier(layers=2), checkpoint=tmp_path)


def test_states_that_are_not_finite_are_refused():
    teacher, student = tiny_classifier(layers=4), tiny_classifier(layers=2)
    student.base_model.encoder.layer[1].register_forward_hook(lambda *args: args[2] * torch.nan)
    told = "{} hidden states that are not finite"
    with refused_as(told.format("the map cka met"), None, told.format("mapping=cka found")):
        fit(objective_of(), teacher, student)
