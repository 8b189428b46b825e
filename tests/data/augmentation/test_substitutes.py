from types import SimpleNamespace

import pytest
import torch
from support.tiny import tiny_classifier

from kdfeatures.data.augmentation.substitutes import EmbeddingNeighbours, MaskedPredictions
from kdfeatures.data.augmentation.words import parts_of, pieces, whole_words
from kdfeatures.data.synthetic import tokenizer
from kdfeatures.errors import UserError

TOKENIZER = tokenizer()
WORDS = whole_words(TOKENIZER)


class Predicts(torch.nn.Module):
    """A masked language model that ranks words by a list, and notes what it was asked."""

    def __init__(self, *ranked):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.scores = torch.zeros(len(TOKENIZER))
        for place, word in enumerate(ranked):
            self.scores[TOKENIZER.convert_tokens_to_ids(word)] = 100.0 - place
        self.asked = []

    def forward(self, input_ids, **_):
        self.asked += TOKENIZER.batch_decode(input_ids)
        return SimpleNamespace(logits=self.scores.expand(*input_ids.shape, -1))


def around(word):
    """Neighbours for which `word` is nearest to `boys`, and no other word near anything."""
    vectors = torch.eye(len(WORDS))
    unknown = {"boys": vectors[list(WORDS).index(word)]}
    return EmbeddingNeighbours(list(WORDS), vectors, unknown.get)


def test_neighbours_are_ordered_by_cosine_without_the_word_itself():
    vectors = torch.tensor([[1.0, 0.0], [10.0, 1.0], [0.0, 1.0], [-1.0, 0.0]])
    found = EmbeddingNeighbours(["here", "near", "far", "opposite"], vectors)
    assert found.neighbours("here", 2) == ["near", "far"]
    assert found.neighbours("Here", 9) == ["near", "far", "opposite"]
    assert found.neighbours("unheard", 2) == []


def test_a_models_neighbours_come_from_its_input_embeddings():
    model = tiny_classifier()
    model.resize_token_embeddings(len(TOKENIZER))
    table = model.get_input_embeddings().weight.detach()
    with torch.no_grad():
        table[WORDS["dog"]] = 2 * table[WORDS["boy"]]
        table[WORDS["crow"]] = table[pieces("boys", TOKENIZER)].mean(0)
    neighbours = EmbeddingNeighbours.of_model(model, TOKENIZER)
    assert neighbours.neighbours("boy", 1) == ["dog"]
    assert neighbours.neighbours("boys", 1) == ["crow"]
    assert neighbours.neighbours("zebra", 1) == []


def test_word_vectors_are_read_from_glove_and_word2vec_text(tmp_path):
    lines = "north 0 1\nup 0.1 0.9\neast 1 0\n"
    for text in (lines, f"3 2\n{lines}"):
        (tmp_path / "vectors.txt").write_text(text)
        assert EmbeddingNeighbours.of_file(tmp_path / "vectors.txt", "o").neighbours("north", 1) == ["up"]


@pytest.mark.parametrize(
    ("text", "told"),
    [("", "the file is empty"), ("a 1 2\nb 1\n", "line 2 has 1 numbers, the first one 2"), ("a x\nb y\n", "float")],
)
def test_a_file_without_vectors_is_told(tmp_path, text, told):
    (tmp_path / "vectors.txt").write_text(text)
    with pytest.raises(UserError, match=f"augmentation.vectors=.*{told}"):
        EmbeddingNeighbours.of_file(tmp_path / "vectors.txt", "augmentation.vectors")
    with pytest.raises(UserError, match="No such file"):
        EmbeddingNeighbours.of_file(tmp_path / "none.txt", "augmentation.vectors")


def test_a_word_of_one_piece_is_masked_and_one_of_several_looked_up():
    model = Predicts("dog", "##s", "[CLS]", "cat", "crow")
    substitutes = MaskedPredictions(model, TOKENIZER, around("mayor"), max_length=32)
    text = "the dog saw boys"
    parts = parts_of(text)
    found = substitutes(text, [parts.index("dog"), parts.index("boys")], 2)
    assert found == [["cat", "crow"], found[1]]  # neither the word itself nor a piece nor a special token
    assert found[1][0] == "mayor"
    assert model.asked == ["[CLS] the [MASK] saw boy ##s [SEP]"]


def test_a_word_that_is_cut_off_has_no_candidates():
    substitutes = MaskedPredictions(Predicts("cat"), TOKENIZER, around("mayor"), max_length=4)
    assert substitutes("the dog saw the cat", [2, 8], 1) == [["cat"], []]


def test_a_tokenizer_without_mask_token_is_refused():
    without = tokenizer()
    without.mask_token = None
    with pytest.raises(UserError, match="no mask token"):
        MaskedPredictions(Predicts("cat"), without, around("mayor"), max_length=4)
