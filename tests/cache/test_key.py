import copy

import pytest
import torch
from datasets import Dataset
from support.tiny import tiny_classifier
from tokenizers.normalizers import Strip

from kdfeatures.cache.key import digests_of, folder_name, identity
from kdfeatures.data.synthetic import tokenizer
from kdfeatures.embeddings.pooling import Pooling, give_vectors
from kdfeatures.models.teachers import make_ready

COLUMNS = ["input_ids", "token_type_ids", "attention_mask"]


def name(teacher, words=None, dtype="float16"):
    return folder_name(identity(teacher, tokenizer() if words is None else words, dtype))


@pytest.fixture
def teacher():
    return tiny_classifier()


def rows(*ids, types=None):
    return Dataset.from_dict(
        {
            "input_ids": ids,
            "token_type_ids": types or [[0] * len(row) for row in ids],
            "attention_mask": [[1] * len(row) for row in ids],
            "labels": list(range(len(ids))),
        }
    )


def test_an_equal_teacher_from_another_folder_shares_the_cache(teacher, tmp_path):
    teacher.save_pretrained(tmp_path)
    assert name(type(teacher).from_pretrained(tmp_path)) == name(teacher)


def test_another_pooling_of_the_same_weights_changes_the_key():
    encoder = tiny_classifier().bert
    found = {name(encoder)}
    for pooling in (Pooling("mean"), Pooling("cls"), Pooling("mean", normalize=True)):
        give_vectors(encoder, pooling)
        found.add(name(encoder))
    assert len(found) == 4
    give_vectors(encoder, Pooling("mean", max_length=12))  # what is cut is told by the rows
    assert name(encoder) in found


def test_calls_of_the_tokenizer_do_not_change_the_key(teacher):
    words = tokenizer()
    before = name(teacher, words)
    words("a dog", truncation=True, max_length=3, padding="max_length")
    assert name(teacher, words) == before


def test_a_weight_a_precision_a_dtype_and_a_tokenizer_change_the_key(teacher):
    found = {name(teacher), name(teacher, dtype="float32")}
    other = tokenizer()
    other.backend_tokenizer.normalizer = Strip()
    found.add(name(teacher, other))
    more = tokenizer()
    more.add_tokens(["another"])
    found.add(name(teacher, more))
    changed = copy.deepcopy(teacher)
    with torch.no_grad():
        changed.classifier.bias[0] += 1e-6
    found.add(name(changed))
    eager = copy.deepcopy(teacher)
    eager.set_attn_implementation("eager")
    found.add(name(eager))
    found.add(name(make_ready(teacher, dtype="bfloat16", compiled=False)))
    assert len(found) == 7


def test_what_the_config_says_of_the_computation_changes_the_key(teacher):
    before = name(teacher)
    teacher.config.id2label = {0: "no", 1: "yes"}
    assert name(teacher) == before
    teacher.config.layer_norm_eps = 1e-3
    assert name(teacher) != before


def test_a_digest_depends_on_the_inputs_and_nothing_else():
    first, lengths = digests_of(rows([5, 6, 7], [5, 6], [8]), COLUMNS)
    again, _ = digests_of(rows([8], [5, 6, 7], [5, 6]).select([1, 2, 0]), COLUMNS)
    assert list(first) == list(again) and len(set(first)) == 3
    assert lengths.tolist() == [3, 2, 1]


def test_token_types_and_boundaries_tell_examples_apart():
    digests, _ = digests_of(rows([5, 6, 7], [5, 6, 7], types=[[0, 0, 0], [0, 0, 1]]), COLUMNS)
    assert len(set(digests)) == 2
    plain, _ = digests_of(rows([5, 6, 7]), ["input_ids", "attention_mask"])
    assert plain[0] not in digests
