import dataclasses
import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset
from support.kind_tasks import QUESTION as TASK
from support.tagged import pieces_tokenizer
from support.tiny import tiny_config
from transformers import AutoModelForQuestionAnswering, EvalPrediction

from kdfeatures.data.load import encode
from kdfeatures.data.subsets import is_labelled, without_labels
from kdfeatures.errors import Diverged, UserError
from kdfeatures.tasks.answer_spans import best_span
from kdfeatures.tasks.registry import task_type
from kdfeatures.tasks.sections import Windows

KIND = task_type(TASK)
OPEN = dataclasses.replace(TASK, windows=Windows(overlap=2, longest_answer=4, unanswerable=True))
CONTEXT = "the garden near york. Ada Lovelace slept in the new garden"
WHO = {
    "question": "  who slept",
    "context": CONTEXT,
    "answers": {"text": ["Ada Lovelace", "Ada"], "answer_start": [22, 22]},
}
WHERE = {"question": "in the", "context": "york", "answers": {"text": ["york"], "answer_start": [0]}}
NOTHING = {"question": "who", "context": "the garden", "answers": {"text": [], "answer_start": []}}


def encoded(rows=(WHO, WHERE), max_length=13, task=TASK):
    return encode(KIND.checked(Dataset.from_list(list(rows)), task, "train"), pieces_tokenizer(), task, max_length)


def test_windows_hold_the_whole_context_and_say_where_their_tokens_are_from():
    dataset = encoded()
    assert dataset["example"][:] == [0] * (len(dataset) - 1) + [1]
    seen = set()
    for row in dataset:
        assert len(row["input_ids"]) <= 13
        tokens = pieces_tokenizer().convert_ids_to_tokens(row["input_ids"])
        for token, start, end in zip(tokens, row["starts"], row["ends"], strict=True):
            if start >= 0:
                assert row["context"][start:end].lower() == token.removeprefix("##")
                seen |= set(range(start, end)) if row["example"] == 0 else set()
    assert seen == {n for n, sign in enumerate(CONTEXT) if sign != " "}


def test_two_windows_share_the_overlap():
    first, second = encoded([WHO])[:2]["starts"]
    shared = [start for start in first if start >= 0 and start in second]
    assert len(shared) == TASK.windows.overlap


def test_labels_are_the_tokens_of_the_answer_in_windows_that_hold_all_of_it():
    dataset = encoded()
    texts = []
    for row in dataset:
        start, end = row["labels"]
        texts.append(row["context"][row["starts"][start] : row["ends"][end]] if start else "")
    assert "Ada Lovelace" in texts and set(texts[:-1]) <= {"", "Ada Lovelace"} and texts[-1] == "york"
    whole = encoded([WHO], max_length=40)
    (start, end) = whole["labels"][0]
    words = pieces_tokenizer().convert_ids_to_tokens(whole["input_ids"][0])[start : end + 1]
    assert words == ["ada", "love", "##lace"]


def test_a_batch_has_start_and_end_positions_and_no_other_columns():
    dataset = encoded()
    batch = KIND.collator(pieces_tokenizer(), TASK, rows=True, seed=0)(list(dataset))
    assert set(batch) == {"input_ids", "attention_mask", "token_type_ids", "start_positions", "end_positions"}
    assert torch.stack([batch["start_positions"], batch["end_positions"]], 1).tolist() == dataset["labels"][:]


@pytest.mark.parametrize("longest", [1, 3, 50])
def test_the_best_span_is_that_of_trying_all(longest):
    random = torch.Generator().manual_seed(longest)
    for _ in range(20):
        logits = torch.randn(9, 2, generator=random)
        inside = torch.rand(9, generator=random) > 0.4
        inside[0] = False
        pairs = [
            (i, j) for i, j in itertools.product(range(9), repeat=2) if inside[i] and inside[j] and i <= j < i + longest
        ]
        found = best_span(logits, inside, 0, longest)
        if not pairs:
            assert found.score == -np.inf
            continue
        expected = max(pairs, key=lambda pair: float(logits[pair[0], 0] + logits[pair[1], 1]))
        assert (found.first, found.last) == expected
        assert found.score == pytest.approx(float(logits[expected[0], 0] + logits[expected[1], 1]))
        assert found.empty == pytest.approx(float(logits[0].sum()))


class Oracle(torch.nn.Module):
    """Answers a window by what is asked: `wanted` maps the tokens of a window to its likeliest span, and how likely."""

    device = torch.device("cpu")

    def __init__(self, wanted, empty=0.0):
        super().__init__()
        self.wanted, self.empty = wanted, empty

    def forward(self, input_ids, attention_mask, token_type_ids):
        start = torch.full(input_ids.shape, -5.0)
        end = start.clone()
        start[:, 0] = end[:, 0] = self.empty / 2
        for n, ids in enumerate(input_ids.tolist()):
            words = pieces_tokenizer().convert_ids_to_tokens(ids)
            for first, last, score in self.wanted:
                if first in words and last in words:
                    start[n, words.index(first)] = end[n, words.index(last)] = score / 2
        return SimpleNamespace(start_logits=start, end_logits=end)


def answers_of(model, dataset, task=TASK):
    return KIND.predict(model, dataset, pieces_tokenizer(), None, task=task, batch_size=2, title="test")


def test_the_likeliest_answer_of_all_windows_counts():
    dataset = encoded()
    answers = answers_of(Oracle([("ada", "##lace", 6.0), ("york", "york", 4.0)]), dataset)
    assert [WHO["context"][slice(*answers[0])], WHERE["context"][slice(*answers[1])]] == ["Ada Lovelace", "york"]
    assert KIND.score(answers, dataset, TASK) == {"f1": 1.0, "exact_match": 1.0, "combined_score": 1.0}
    assert [row["prediction"] for row in KIND.predictions(answers, dataset, TASK)] == ["Ada Lovelace", "york"]
    assert KIND.count(dataset) == 2 and KIND.labels(dataset).tolist() == [[22, 34], [0, 4]]
    other = answers_of(Oracle([("ada", "##lace", 6.0), ("york", "york", 9.0)]), dataset)
    scores = KIND.score(other, dataset, TASK)  # york is likelier now in both contexts
    assert scores["exact_match"] == 0.5 and scores["f1"] == 0.5


def test_no_answer_counts_where_it_is_likelier_in_every_window():
    dataset = encoded((WHO, NOTHING), task=OPEN)
    oracle = Oracle([("ada", "##lace", 6.0), ("garden", "garden", 1.0)], empty=3.0)
    answers = answers_of(oracle, dataset, OPEN)
    assert WHO["context"][slice(*answers[0])] == "Ada Lovelace" and answers[1].tolist() == [0, 0]
    assert KIND.score(answers, dataset, OPEN)["exact_match"] == 1.0
    assert answers_of(oracle, encoded((WHO,)), TASK)[0].tolist() == [22, 34]


def test_the_trainers_padded_arrays_give_the_same_answers():
    torch.manual_seed(0)
    dataset, model = encoded(), AutoModelForQuestionAnswering.from_config(tiny_config("bert")).eval()
    live = answers_of(model, dataset)
    starts, ends = np.full((2, len(dataset), 20), -100.0, dtype=np.float32)
    for n, row in enumerate(dataset):
        inputs = {name: torch.tensor([row[name]]) for name in ("input_ids", "attention_mask", "token_type_ids")}
        output = model(**inputs)
        length = len(row["input_ids"])
        starts[n, :length], ends[n, :length] = (x[0].detach() for x in (output.start_logits, output.end_logits))
    np.testing.assert_array_equal(KIND.gathered(EvalPrediction((starts, ends), None), dataset, TASK), live)


def test_logits_that_are_not_finite_are_no_answers():
    with pytest.raises(Diverged, match="the logits of a window are not finite"):
        answers_of(Oracle([("ada", "ada", float("nan"))]), encoded([WHO], max_length=40))


def test_hidden_answers():
    rows = Dataset.from_list([{"question": "who", "context": "ada"}])
    dataset = encode(rows.add_column("answers", KIND.hidden_labels(rows, TASK)), pieces_tokenizer(), TASK, 16)
    assert dataset["labels"][:] == [[-1, -1]] and not is_labelled(dataset).any()
    assert is_labelled(encoded()).all() and not is_labelled(without_labels(encoded())).any()
    with pytest.raises(UserError, match="1 of 1 labels are hidden"):
        KIND.score(np.zeros((1, 2), dtype=int), dataset, TASK)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ((["Ada"], [0]), "the answer 'Ada' is not in its context from character 0, where there is 'the'"),
        ((["Ada"], [22, 3]), "column 'answers' must hold"),
        (([], []), " has no answer; set task.windows.unanswerable=true"),
    ],
)
def test_answers_that_do_not_fit_are_named_with_their_row(given, told):
    with pytest.raises(UserError, match=f"row 0 of split 'train'.*{told}"):
        encoded([WHO | {"answers": dict(zip(("text", "answer_start"), given, strict=True))}])


def test_answers_as_squads_own_files_have_them_are_read_and_others_are_told():
    listed = [{"text": "Ada Lovelace", "answer_start": 22}, {"text": "Ada", "answer_start": 22}]
    assert encoded([WHO | {"answers": listed}])[:] == encoded([WHO])[:]
    for wrong in ("Ada", [{"text": "Ada"}], ["Ada"]):
        with pytest.raises(UserError, match="row 0 of split 'train': column 'answers' must hold"):
            encoded([WHO | {"answers": wrong}])


def test_a_question_that_leaves_no_room_is_named():
    with pytest.raises(UserError, match="the question of row 0 has 3 tokens, which leaves 2 of data.max_length=8"):
        encoded([WHO | {"question": "who met grace"}], max_length=8)


def test_a_teacher_must_beat_no_answer_and_the_whole_context():
    dataset = encoded()
    whole = np.array([[0, len(WHO["context"])], [0, len(WHERE["context"])]])
    assert KIND.no_better(whole, dataset, TASK).startswith("its f1 is ")
    assert KIND.no_better(KIND.labels(dataset), dataset, TASK) is None
