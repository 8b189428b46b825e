from support.composing import bound, plain
from support.tiny import tiny_config

from kdfeatures import mapping
from kdfeatures.distillation.summary import describe_layers
from kdfeatures.mapping.diagram import map_picture, maps_text

TEACHER = tiny_config("bert", layers=6, width=24, heads=4)
STUDENT = tiny_config("bert", layers=3, width=24, heads=4)


def test_a_map_has_a_line_for_each_student_layer_and_a_column_for_each_teacher_layer():
    assert map_picture(mapping.uniform(3, 6, embeddings=True), 3, 6).splitlines() == [
        "teacher     0  1  2  3  4  5  6",
        "student  3                    o",
        "         2              o",
        "         1        o",
        "         0  o",
    ]


def test_candidates_are_dots_and_weights_tenths():
    pairs = mapping.explicit(2, 2, pairs=[[1, 1], [1, 2], [2, 1], [2, 2]])
    assert map_picture([pairs[0]], 2, 2, candidates=pairs).splitlines()[1:] == [
        "student  2     .  .",
        "         1     o  .",
        "         0",
    ]
    weighed = map_picture([(0, 0), *pairs], 2, 2, weights=[[0.68, 0.32], [0.01, 0.99]]).splitlines()
    assert weighed[1:] == ["student  2     .  o", "         1     7  3", "         0  o"]


def text_of(*overrides):
    objective, _ = bound(plain("distill", *overrides), STUDENT, TEACHER)
    return maps_text({name: describe_layers(term) for name, term in objective.terms.items()}, 3, {"main": 6})


def test_terms_of_one_map_share_a_picture_and_others_have_their_own():
    shared = text_of("recipe=tinybert_joint", "mapping.embeddings=false")
    assert shared.count("teacher  ") == 1 and shared.startswith("Layers that hidden, attention compare.\n")
    apart = text_of("recipe=tinybert_joint", "+mapping@losses.hidden.mapping=final")
    assert apart.count("teacher  ") == 2 and "Layers that hidden compares.\n" in apart


def test_a_map_that_moves_says_so_and_shows_its_first_step():
    told = text_of("recipe=hidden_joint", "mapping=random", "mapping.embeddings=false")
    assert told.startswith("Layers that hidden compares: random, a random subset of teacher layers at a time.\n")
    rows = told.splitlines()[2:5]
    assert [row[9:].count("o") for row in rows] == [1, 1, 1] and [row.count(".") for row in rows] == [5, 5, 5]


def test_a_run_that_compares_no_layers_has_no_picture():
    assert text_of("recipe=logits") == ""
