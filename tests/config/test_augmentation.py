import pytest
from datasets import Dataset
from support.composing import plain
from support.tiny import tiny_config
from transformers import AutoModelForMaskedLM

from kdfeatures.config.switches import augmentation_settings
from kdfeatures.data.augmentation import AugmentationSettings
from kdfeatures.data.synthetic import tokenizer
from kdfeatures.errors import UserError
from kdfeatures.models.load import load_masked_model
from kdfeatures.pipelines.augment import augmenter

TOKENIZER = tokenizer()
TEXTS = Dataset.from_dict({"sentence": ["the dog that the boys saw slept", "no crow saw the mayor"]})


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("masked")
    config = tiny_config("bert")
    config.vocab_size = len(TOKENIZER)
    AutoModelForMaskedLM.from_config(config).save_pretrained(folder)
    TOKENIZER.save_pretrained(folder)
    return folder


def settings(**given):
    return AugmentationSettings(
        **({"copies": 3, "probability": 0.5, "candidates": 4, "mlm": None, "vectors": None} | given)
    )


def copies_of(found, masked):
    teacher = load_masked_model(str(masked), "teacher.path")
    return augmenter(found, teacher, TOKENIZER, max_length=16, seed=1)


def test_off_makes_no_copies():
    assert augmentation_settings(plain("distill")) is None
    assert augmenter(None, None, TOKENIZER, max_length=16, seed=1) is None


def test_the_papers_numbers_are_the_defaults():
    assert augmentation_settings(plain("distill", "augmentation=tinybert")) == settings(
        copies=20, probability=0.4, candidates=15
    )


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["augmentation.copies=5"], "augmentation.copies=5 needs augmentation=tinybert"),
        (["augmentation=tinybert", "augmentation.copies=0"], "augmentation.copies=0 must be a whole number from 1"),
        (["augmentation=tinybert", "augmentation.candidates=0"], "augmentation.candidates=0 must be a whole"),
        (["augmentation=tinybert", "augmentation.probability=0"], "augmentation.probability=0.0 must be above 0"),
        (["augmentation=tinybert", "augmentation.probability=2"], "augmentation.probability=2.0 must be above 0"),
        (["augmentation=tinybert", "augmentation.copies=x"], "augmentation.copies: Value 'x'"),
    ],
)
def test_what_cannot_be_used_is_told(overrides, told):
    with pytest.raises(UserError) as caught:
        augmentation_settings(plain("distill", *overrides))
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize("source", ["embeddings", "vectors", "mlm"])
def test_each_source_of_substitutes_makes_copies(masked, tmp_path, source):
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("dog 1 0\ncat 0.9 0.1\ncrow 0.1 0.9\n")
    given = {"embeddings": {}, "vectors": {"vectors": str(vectors)}, "mlm": {"mlm": str(masked)}}[source]
    found = copies_of(settings(**given), masked)(TEXTS, ["sentence"])["sentence"][:]
    assert found and not set(found) & set(TEXTS["sentence"])
    if source == "vectors":
        assert {word for text in found for word in text.split()} <= {"cat", *" ".join(TEXTS["sentence"]).split()}


def test_what_the_substitutes_depend_on_names_the_copies(masked, tmp_path):
    names = {
        copies_of(found, masked)(TEXTS, ["sentence"])._fingerprint
        for found in (settings(), settings(), settings(copies=4), settings(mlm=str(masked)))
    }
    assert len(names) == 3


def test_a_model_without_masked_language_model_head_is_refused(tmp_path, masked):
    AutoModelForMaskedLM.from_pretrained(masked).bert.save_pretrained(tmp_path / "encoder")
    with pytest.raises(UserError, match="augmentation.mlm=.* has no masked-language-model head: .* lacks cls"):
        load_masked_model(str(tmp_path / "encoder"), "augmentation.mlm")
    with pytest.raises(UserError, match="no such folder"):
        load_masked_model(str(tmp_path / "none"), "augmentation.mlm")
