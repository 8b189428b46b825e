import pytest
from datasets import (
    ClassLabel,
    Dataset,
    DatasetDict,
    Features,
    Value,
    are_progress_bars_disabled,
    enable_progress_bars,
)
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from kdfeatures.data.load import encode, load_task, split_of
from kdfeatures.errors import UserError
from kdfeatures.tasks.task import Task

PAIRS = Task(
    name="pairs",
    config="pairs",
    dataset="someone/pairs",
    text=("a", "b"),
    label="label",
    labels=("no match", "match"),
    metrics=("accuracy",),
    splits={"train": "train", "validation": "dev"},
)
SCORES = Task(
    name="scores",
    dataset="someone/scores",
    text=("a",),
    label="label",
    labels=(),
    metrics=("pearson",),
    splits={"test": "test"},
)


@pytest.fixture(scope="module")
def tokenizer():
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "one", "two", "three"]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="[PAD]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def pairs(labels=(0, 1), **columns):
    features = Features(a=Value("string"), b=Value("string"), label=ClassLabel(names=list(PAIRS.labels)))
    rows = {"a": ["one two"] * len(labels), "b": ["three"] * len(labels), "label": list(labels)} | columns
    return Dataset.from_dict(rows, features=features)


def test_splits_are_found_by_the_name_that_the_task_gives_them():
    data = DatasetDict(train=pairs(), dev=pairs([1]))
    assert len(split_of(data, PAIRS, "validation")) == 1
    with pytest.raises(UserError, match="lack the split 'dev'; there is train"):
        split_of(DatasetDict(train=pairs()), PAIRS, "validation")
    with pytest.raises(UserError, match="has no split 'test'; it has train, validation"):
        split_of(data, PAIRS, "test")


def test_pairs_become_model_inputs_without_padding(tokenizer):
    data = pairs(a=["one two", "one"])
    encoded = encode(data, tokenizer, PAIRS, max_length=16)
    assert set(encoded.column_names) == {"input_ids", "attention_mask", "token_type_ids", "labels"}
    assert encoded["input_ids"][:] == [[2, 4, 5, 3, 6, 3], [2, 4, 3, 6, 3]]
    assert encoded["token_type_ids"][0] == [0, 0, 0, 0, 1, 1]
    assert encoded["labels"][:] == [0, 1]
    assert data.column_names == ["a", "b", "label"]


def test_few_rows_show_no_progress_bar_and_the_setting_survives(tokenizer, capfd):
    enable_progress_bars()
    encode(pairs(), tokenizer, PAIRS, max_length=16)
    assert capfd.readouterr().err == ""
    assert not are_progress_bars_disabled()


def test_long_texts_are_cut_to_max_length(tokenizer):
    data = pairs([0], a=["one " * 50], b=["two " * 50])
    ids = encode(data, tokenizer, PAIRS, max_length=9)["input_ids"][0]
    assert ids == [2, 4, 4, 4, 3, 5, 5, 5, 3]


def test_hidden_classes_are_ignored_by_the_model(tokenizer):
    assert encode(pairs([1, -1]), tokenizer, PAIRS, max_length=16)["labels"][:] == [1, -100]


def test_only_a_split_of_nothing_but_minus_one_hides_its_scores(tokenizer):
    hidden = Dataset.from_dict({"a": ["one", "two"], "label": [-1.0, -1.0]})
    known = Dataset.from_dict({"a": ["one", "two"], "label": [-1.0, 2.5]})
    assert all(label != label for label in encode(hidden, tokenizer, SCORES, max_length=8)["labels"])
    assert encode(known, tokenizer, SCORES, max_length=8)["labels"][:] == [-1.0, 2.5]


def test_more_than_a_batch_of_rows_keep_their_own_labels(tokenizer):
    labels = [(row * row // 7) % 2 for row in range(2500)]
    assert encode(pairs(labels), tokenizer, PAIRS, max_length=8)["labels"][:] == labels


def test_a_missing_text_is_refused_with_its_row(tokenizer):
    texts = ["one"] * 1500
    texts[1203] = None
    with pytest.raises(UserError, match="column 'b' has no text in row 1203"):
        encode(pairs([0] * 1500, b=texts), tokenizer, PAIRS, max_length=16)


def test_a_max_length_without_room_for_text_is_refused(tokenizer):
    with pytest.raises(UserError, match="max_length=4 leaves no room for text beside 3 special tokens"):
        encode(pairs(), tokenizer, PAIRS, max_length=4)


def test_generated_tasks_load_with_a_seed_and_take_no_folder(monkeypatch):
    task = Task(
        name="entailment",
        embedded="entailment",
        text=("sentence1", "sentence2"),
        label="label",
        labels=("entailment", "not_entailment"),
        metrics=("accuracy",),
        splits={"train": "train", "validation": "validation"},
    )
    monkeypatch.setattr("kdfeatures.data.synthetic.SIZES", {"train": 8, "validation": 4})
    first, again, other = (load_task(task, seed=seed)["train"]["sentence1"][:] for seed in (1, 1, 2))
    assert len(first) == 8
    assert first == again != other
    with pytest.raises(UserError, match="'entailment' is generated; leave out data.path='x'"):
        load_task(task, "x")
