import json

import pytest
import torch
from support.model_folders import edit_json, refused_line, save_classifier
from support.tiny import tiny_classifier
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import DataCollatorWithPadding, PreTrainedTokenizerFast

from kdfeatures.analysis.batches import text_batches
from kdfeatures.data.synthetic import tokenizer
from kdfeatures.models.tokenizers import limited, load_tokenizer

TEXTS = ["the dog that barked slept", "a cat slept", "the cat that the dog saw ran", "dogs ran"]
PADDING = {
    "strategy": {"Fixed": 12}, "direction": "Left", "pad_to_multiple_of": 8, "pad_id": 0, "pad_type_id": 0,
    "pad_token": "[PAD]",
}  # fmt: skip
TRUNCATION = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
# in tokenizer_config.json, and in tokenizer.json
SETTINGS = {
    "as usual": ({}, {}),
    "no attention mask": ({"model_input_names": ["input_ids"]}, {}),
    "padded on the left": ({"padding_side": "left"}, {}),
    "padded to a length": ({}, {"padding": PADDING}),
    "cut in the file": ({}, {"truncation": TRUNCATION}),
    "pad is another token": ({"pad_token": "[SEP]"}, {}),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save_classifier(tmp_path_factory.mktemp("tokenizers") / "model")


@pytest.fixture
def folder(tmp_path):
    return save_classifier(tmp_path / "model")


def logits(model, batch):
    with torch.no_grad():
        return model(**{name: tensor for name, tensor in batch.items() if name != "token_type_ids"}).logits


@pytest.mark.parametrize("family", ["bert", "roberta", "mpnet", "esm", "deberta-v2"])
@pytest.mark.parametrize("setting", SETTINGS)
def test_what_a_model_answers_does_not_depend_on_the_other_texts_of_the_batch(folder, setting, family):
    of_config, of_file = SETTINGS[setting]
    edit_json(folder / "tokenizer_config.json", **of_config)
    edit_json(folder / "tokenizer.json", **of_file)
    loaded = load_tokenizer(str(folder), "model.path")
    torch.manual_seed(0)
    model = tiny_classifier(family).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    encoded = [dict(loaded(text, truncation=True, max_length=16)) for text in TEXTS]
    assert [row["input_ids"] for row in encoded] == tokenizer()(TEXTS)["input_ids"]
    alone = torch.cat([logits(model, {"input_ids": torch.tensor([row["input_ids"]])}) for row in encoded])
    torch.testing.assert_close(logits(model, DataCollatorWithPadding(loaded)(encoded)), alone, rtol=1e-5, atol=1e-5)
    measured = torch.cat([logits(model, batch) for batch in text_batches(TEXTS, loaded, batch_size=4)])
    torch.testing.assert_close(measured, alone, rtol=1e-5, atol=1e-5)


def test_measurements_mark_padding_also_for_a_tokenizer_of_ones_own():
    own = tokenizer()
    own.model_input_names = ["input_ids"]
    own.padding_side = "left"
    (batch, _) = text_batches(TEXTS, own, batch_size=2)
    lengths = [len(ids) for ids in tokenizer()(TEXTS[:2])["input_ids"]]
    assert batch["attention_mask"].sum(1).tolist() == lengths
    assert (batch["attention_mask"][:, 0] == 1).all()


def test_merges_are_not_dropped_by_chance(tmp_path):
    bpe = Tokenizer(
        models.BPE({"a": 0, "b": 1, "ab": 2, "[PAD]": 3, "abab": 4}, [("a", "b"), ("ab", "ab")], dropout=0.5)
    )
    bpe.pre_tokenizer = pre_tokenizers.Whitespace()
    folder = save_classifier(tmp_path / "model")
    PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="[PAD]").save_pretrained(folder)
    assert json.loads((folder / "tokenizer.json").read_text())["model"]["dropout"] == 0.5
    loaded = load_tokenizer(str(folder), "model.path")
    assert {tuple(loaded("abab")["input_ids"]) for _ in range(50)} == {(4,)}


def test_a_tokenizer_without_a_padding_token_is_refused_with_one_it_has(folder):
    edit_json(folder / "tokenizer_config.json", pad_token=None)
    told = refused_line(load_tokenizer, str(folder), "model.path")
    assert "has a tokenizer without a padding token; name one in its tokenizer_config.json" in told
    assert '"pad_token": "[SEP]"' in told


@pytest.mark.parametrize(
    ("name", "told"),
    [("XLMTokenizer", "it needs a package that is not there. "), ("BertJapaneseTokenizer", "can be loaded: ")],
)
def test_a_tokenizer_that_cannot_be_made_is_one_line(folder, name, told):
    edit_json(folder / "tokenizer_config.json", tokenizer_class=name)
    assert told in refused_line(load_tokenizer, str(folder), "model.path")


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_a_broken_file_is_one_line(folder, name):
    (folder / name).write_text("{")
    assert "holds no tokenizer that can be loaded: " in refused_line(load_tokenizer, str(folder), "model.path")


def test_a_tokenizer_comes_back_as_it_was_saved(saved):
    assert load_tokenizer(str(saved), "teacher.path").get_vocab() == tokenizer().get_vocab()


def test_a_folder_without_tokenizer_is_refused_instead_of_answered_with_an_empty_one(folder):
    for file in folder.glob("tokenizer*"):
        file.unlink()
    told = refused_line(load_tokenizer, str(folder), "teacher.path")
    assert told.startswith(f"teacher.path={folder} holds no tokenizer; copy")


@pytest.mark.parametrize(
    ("family", "own", "expected"), [("bert", 64, 16), ("bert", 9, 9), ("roberta", 10**30, 14), ("modernbert", 64, 16)]
)
def test_a_saved_tokenizer_says_how_many_tokens_the_model_takes(family, own, expected):
    given = tokenizer()
    given.model_max_length = own
    model = tiny_classifier(family, max_position_embeddings=16)
    assert limited(given, model).model_max_length == expected
    assert given.model_max_length == own
