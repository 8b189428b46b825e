from mutations import MUTATIONS, misplaced


def test_every_mutation_still_has_its_place_in_the_source():
    assert misplaced() == [] and len(MUTATIONS) >= 40
