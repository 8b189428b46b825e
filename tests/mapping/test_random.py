import itertools
from collections import Counter

from support.moving import moving_map
from support.refused import refused_as


def draws(count, **own):
    made = moving_map("random", 3, 6, **own)
    found = []
    for epoch in range(count):
        made.advance(100 * epoch, epoch)
        found.append(made.active_pairs())
    return found


def test_each_epoch_has_a_sorted_subset_of_the_teachers_layers_and_the_embeddings():
    for pairs in draws(20):
        assert [pair.student for pair in pairs] == [0, 1, 2, 3] and pairs[0].teacher == 0
        teachers = [pair.teacher for pair in pairs[1:]]
        assert teachers == sorted(set(teachers)) and 1 <= teachers[0] and teachers[-1] <= 6


def test_without_embeddings_there_are_none():
    assert draws(1, embeddings=False)[0][0].student == 1


def test_every_subset_is_equally_likely():
    counts = Counter(tuple(pair.teacher for pair in pairs[1:]) for pairs in draws(2000))
    assert counts.keys() == set(itertools.combinations(range(1, 7), 3))
    assert min(counts.values()) > 60 and max(counts.values()) < 145  # 100 each, standard deviation 9.7


def test_the_draw_follows_from_seed_and_epoch_alone():
    assert draws(10) == draws(10) != draws(10, seed=4)
    late = moving_map("random", 3, 6)
    late.advance(900, 9)
    assert late.active_pairs() == draws(10)[9]


def test_it_may_draw_every_so_many_steps_instead():
    made = moving_map("random", 3, 6, every=5)
    found = []
    for step in range(20):
        made.advance(step, 0)
        found.append(made.active_pairs())
    assert [len(set(found[start : start + 5])) for start in range(0, 20, 5)] == [1] * 4 and len(set(found)) > 1


def test_its_weights_are_one_for_what_is_drawn():
    made = moving_map("random", 3, 6)
    made.advance(0, 7)
    drawn = [(s + 1, t + 1) for s, t in made.weights().nonzero().tolist()]
    assert drawn == [tuple(pair) for pair in made.active_pairs()[1:]]


def test_a_student_deeper_than_its_teacher_is_refused():
    told = "each of the student's 4, but the teacher has 3; use"
    with refused_as(f"{told} uniform", None, f"{told} mapping=uniform"):
        moving_map("random", 4, 3)


def test_no_step_between_draws_is_refused():
    told = "every=0 must be at least 1 step, or"
    with refused_as(f"^{told} None", "mapping", f"mapping.{told} null"):
        moving_map("random", every=0)
