import json
import shutil

import numpy as np
import pytest
import torch
from datasets import Dataset
from support.shared_data import glue_task
from support.tiny import tiny_classifier
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase, Strip
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import BertModel, PreTrainedTokenizerFast

from kdfeatures.data.synthetic import tokenizer
from kdfeatures.errors import UserError
from kdfeatures.models.teachers import check_teacher, check_tokenizers, load_teacher, shuffle_weights

RTE, STSB = glue_task("rte"), glue_task("stsb")  # entailment, not_entailment; a score


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teachers") / "teacher"
    tiny_classifier().save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def named(saved, tmp_path):
    """Return a maker of copies whose classes have the given names."""

    def make(*names):
        folder = shutil.copytree(saved, tmp_path / "-".join(names))
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"id2label": dict(enumerate(names))}))
        return str(folder)

    return make


@pytest.mark.parametrize(
    ("names", "columns"),
    [(("entailment", "not_entailment"), [0, 1]), (("not_entailment", "entailment"), [1, 0])],
)
def test_a_teacher_comes_with_the_columns_that_put_its_classes_in_order(named, names, columns):
    model, words, found = load_teacher(named(*names), RTE, force=False)
    assert found == columns
    assert model.config.num_labels == 2 and not model.training
    assert words.get_vocab() == tokenizer().get_vocab()


def test_a_teacher_without_head_is_refused_unless_forced(tmp_path):
    BertModel(tiny_classifier().config).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    with pytest.raises(UserError, match="never fine-tuned for classification"):
        load_teacher(str(tmp_path), RTE, force=False)
    assert load_teacher(str(tmp_path), RTE, force=True)[2] == [0, 1]


def test_a_teacher_with_generic_class_names_is_refused_unless_forced(saved):
    with pytest.raises(UserError, match=f"the teacher {saved} has the generic class names LABEL_0, LABEL_1"):
        load_teacher(str(saved), RTE, force=False)
    assert load_teacher(str(saved), RTE, force=True)[2] == [0, 1]


@pytest.mark.parametrize("force", [False, True])
def test_a_teacher_with_another_number_of_classes_is_refused_even_if_forced(saved, force):
    with pytest.raises(UserError, match="has 2 classes .* but the task has 3"):
        load_teacher(str(saved), glue_task("mnli"), force=force)


def test_a_teacher_without_tokenizer_is_refused(tmp_path):
    tiny_classifier().save_pretrained(tmp_path)
    with pytest.raises(UserError, match="holds no tokenizer"):
        load_teacher(str(tmp_path), RTE, force=True)


def logits_for(predicted):
    return np.eye(2)[predicted]


def labelled(labels):
    return Dataset.from_dict({"labels": labels.tolist()})


LABELS = np.array([0, 0, 0, 1, 1])  # always answering 0 is right in 60%


def test_a_teacher_that_beats_the_most_frequent_class_is_taken():
    check_teacher(logits_for([0, 0, 0, 1, 0]), labelled(LABELS), RTE, "validation")


@pytest.mark.parametrize("predicted", [[0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 0, 1, 1, 0]])
def test_a_teacher_no_better_than_a_constant_is_refused_with_both_scores(predicted):
    right = 100 * np.mean(np.array(predicted) == LABELS)
    with pytest.raises(UserError) as caught:
        check_teacher(logits_for(predicted), labelled(LABELS), RTE, "validation")
    told = str(caught.value)
    assert "no better than a constant on rte validation" in told and "\n" not in told
    assert f"its accuracy is {right:.1f}, that of always answering the best one class 60.0" in told
    assert "teacher.force=true" in told


SCORES = np.array([0.0, 1.0, 3.0, 4.0], dtype=np.float32)


def test_a_regression_teacher_near_the_scores_is_taken():
    check_teacher(SCORES[:, None] + 0.3, labelled(SCORES), STSB, "validation")


@pytest.mark.parametrize("answers", [np.full(4, 2.0), SCORES / 5 - 1, 4 - SCORES, 20 * SCORES])
def test_a_regression_teacher_that_is_constant_or_on_another_scale_is_refused(answers):
    with pytest.raises(UserError, match="squared error is .* always answering the mean 2.500"):
        check_teacher(answers[:, None], labelled(SCORES), STSB, "validation")


def test_equal_tokenizers_are_taken():
    check_tokenizers(tokenizer(), tokenizer(), "student")


def test_a_tokenizer_with_other_entries_is_refused_with_both_sizes():
    other = tokenizer()
    other.add_tokens(["another"])
    size = len(tokenizer())
    with pytest.raises(
        UserError, match=rf"student.path=here has another tokenizer .*\({size + 1} against {size} entries"
    ):
        check_tokenizers(tokenizer(), other, "here")


def test_a_tokenizer_that_treats_case_otherwise_is_refused():
    def made(normalizer):
        backend = Tokenizer(WordLevel({"[UNK]": 0, "naïve": 1, "Naïve": 2}, unk_token="[UNK]"))
        backend.pre_tokenizer = Whitespace()
        backend.normalizer = normalizer
        return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]")

    with pytest.raises(UserError, match="the same vocabulary, but other casing or special tokens"):
        check_tokenizers(made(Lowercase()), made(Strip()), "here")


def test_a_tokenizer_with_other_special_tokens_is_refused():
    other = tokenizer()
    other.backend_tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A", special_tokens=[("[CLS]", other.cls_token_id)]
    )
    with pytest.raises(UserError, match="the same vocabulary, but other casing or special tokens"):
        check_tokenizers(tokenizer(), other, "here")


def test_shuffled_weights_are_the_same_numbers_elsewhere_and_always_at_the_same_place():
    teacher, one, other = (tiny_classifier("bert") for _ in range(3))
    one.load_state_dict(teacher.state_dict())
    other.load_state_dict(teacher.state_dict())
    shuffle_weights(one)
    torch.rand(1)
    shuffle_weights(other)
    for (name, before), after, again in zip(
        teacher.named_parameters(), one.parameters(), other.parameters(), strict=True
    ):
        torch.testing.assert_close(after.flatten().sort().values, before.flatten().sort().values, msg=name)
        assert torch.equal(after, again), name
        assert before.std() == 0 or not torch.equal(after, before), name
