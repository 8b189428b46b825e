from kdfeatures.losses.kernels.gram_sums import gram_pays


def test_gram_matrices_are_taken_for_long_sequences_of_narrow_heads():
    assert gram_pays(512, 16, 32) and gram_pays(128, 16, 32)
    assert not gram_pays(128, 64, 64) and not gram_pays(32, 16, 32)
