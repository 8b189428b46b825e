"""Questions whose answer is a part of a text: SQuAD (arXiv:1606.05250, 1806.03822)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from datasets import Dataset, List, Value
from transformers import (
    AutoModelForQuestionAnswering,
    BatchEncoding,
    DataCollatorWithPadding,
    EvalPrediction,
    PreTrainedTokenizerBase,
)

from kdfeatures.errors import Diverged, UserError
from kdfeatures.evaluation.predict import Predictor, logit_batches
from kdfeatures.evaluation.span_f1 import exact_match, token_f1
from kdfeatures.tasks.answer_spans import AnswerSpan, best_answers, best_span
from kdfeatures.tasks.base import Collator, TaskType
from kdfeatures.tasks.columns import UNKNOWN_LABEL, check_columns, check_no_gaps, check_texts, encoded, without
from kdfeatures.tasks.constant_answers import compared
from kdfeatures.tasks.task import Task

ANSWERS = {"text": List(Value("string")), "answer_start": List(Value("int64"))}
CLS = 0  # the token that stands for no answer
HIDDEN, NOTHING = [UNKNOWN_LABEL, UNKNOWN_LABEL], [0, 0]
NO_ANSWER = AnswerSpan(CLS, CLS, 0.0, 0.0)
OF_WINDOWS = ("example", "starts", "ends", "context", "references", "answer")  # columns that no model takes
OUTSIDE = -1  # the first character of a token that is no part of the context
METRICS = {"f1": token_f1, "exact_match": exact_match}


class QuestionTask(TaskType):
    """A column of questions, one of contexts, and one of answers, {"text": [...], "answer_start": [...]}.

    A row of an encoded split is a window of a context. `labels` are its (start, end) tokens: of the first reference, of
    the first token ([CLS]) where the window holds none, UNKNOWN_LABEL where hidden. Beside them stand `example`, which
    question it is of, `starts` and `ends`, (L,), the characters of its tokens, and `context`, `references` and
    `answer`, the characters of the first reference, with which answers are scored.
    Answers are (questions, 2), characters [start, end) of the context.
    """

    auto = AutoModelForQuestionAnswering
    pipeline = "question-answering"
    untrained = "was never fine-tuned for question answering"
    per_token = True
    columns_of_classes = False
    answers_are_logits = False
    label_names = ("start_positions", "end_positions")
    cuts = False

    def uncacheable(self, task: Task) -> str | None:
        return "of question answering start and end logits are not kept; use cache=off, or terms that read no outputs"

    def kept_together(self, task: Task) -> str | None:
        return task.text[1]  # the contexts, which several questions may share

    def checked(self, dataset: Dataset, task: Task, split: str) -> Dataset:
        """Raises UserError for answers that are not where they say."""
        check_columns(dataset, task, split)
        check_texts(dataset, task, split)
        contexts, answers = dataset[task.text[1]][:], dataset[task.label_column][:]
        read = [
            None if given is None else _read_answers(given, context, f"row {row} of split '{split}'", task)
            for row, (context, given) in enumerate(zip(contexts, answers, strict=True))
        ]
        return dataset.remove_columns(task.label_column).add_column(task.label_column, read, feature=ANSWERS)

    def hidden_labels(self, dataset: Dataset, task: Task) -> list[Any]:
        return [None] * len(dataset)

    def count(self, dataset: Dataset) -> int:
        return len(set(dataset["example"][:]))

    def encode(self, dataset: Dataset, tokenizer: PreTrainedTokenizerBase, task: Task, max_length: int) -> Dataset:
        """Raises UserError for a slow tokenizer, and for a question that leaves too little room for its context."""
        if not tokenizer.is_fast:
            raise UserError(
                "the tokenizer is a slow one, which does not tell where a token is from; choose a fast one."
            )
        overlap = task.answer_windows.overlap
        special = tokenizer.num_special_tokens_to_add(pair=True)
        questions, contexts = task.text

        def windows(rows: dict[str, list], indices: list[int]) -> dict[str, Any]:
            check_no_gaps(rows, task.text, indices)
            asked = [question.lstrip() for question in rows[questions]]
            for index, ids in zip(indices, tokenizer(asked, add_special_tokens=False)["input_ids"], strict=True):
                room = max_length - special - len(ids)
                if room <= overlap:
                    raise UserError(
                        f"the question of row {index} has {len(ids)} tokens, which leaves {max(room, 0)} of "
                        f"data.max_length={max_length} for its context, not more than task.windows.overlap={overlap}; "
                        "raise the one, or lower the other."
                    )
            inputs = tokenizer(
                asked,
                rows[contexts],
                truncation="only_second",
                max_length=max_length,
                stride=overlap,
                return_overflowing_tokens=True,
                return_offsets_mapping=True,
            )
            return _encoded_windows(inputs, rows[contexts], rows[task.label_column], indices, tokenizer)

        return encoded(dataset, windows)

    def collator(self, tokenizer: PreTrainedTokenizerBase, task: Task, *, rows: bool, seed: int) -> Collator:
        return QuestionCollator(tokenizer)

    def predict(
        self,
        model: Predictor,
        dataset: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        columns: Sequence[int] | None,
        *,
        task: Task,
        batch_size: int,
        title: str,
    ) -> np.ndarray:
        """Return the answers; columns has no say. Raises Diverged for logits that are not finite."""
        places, spans = dataset["starts"][:], [NO_ANSWER] * len(dataset)
        for rows, mask, logits in logit_batches(model, dataset, tokenizer, batch_size=batch_size, title=title):
            for row, real, of_row in zip(rows.tolist(), mask.cpu(), logits.float().cpu(), strict=True):
                spans[row] = _span(of_row[real], places[row], task)
        return _answers(spans, dataset, task)

    def labels(self, dataset: Dataset) -> np.ndarray:
        """Return the characters [start, end) of the first reference of every question, (questions, 2)."""
        return np.array(_questions(dataset)["answer"][:])

    def score(self, answers: np.ndarray, dataset: Dataset, task: Task) -> dict[str, float]:
        """Means over the questions of the best value against any reference, and of several metrics their mean."""
        questions = _questions(dataset)
        hidden = questions["answer"][:].count(HIDDEN)
        if hidden:
            raise UserError(
                f"{hidden} of {len(questions)} labels are hidden, so there is nothing to score them against; use a "
                "split with labels, such as validation"
            )
        given = list(zip(_texts(answers, questions), questions["references"][:], strict=True))
        scores = {name: float(np.mean([METRICS[name](*pair) for pair in given])) for name in task.metrics}
        return scores | ({"combined_score": float(np.mean(list(scores.values())))} if len(scores) > 1 else {})

    def gathered(self, output: EvalPrediction, dataset: Dataset, task: Task) -> np.ndarray:
        predictions: Any = output.predictions  # a pair of arrays, (windows, L)
        starts, ends = predictions[0], predictions[1]
        spans = [
            _span(torch.from_numpy(np.stack([start, end], axis=1)[: len(places)]), places, task)
            for start, end, places in zip(starts, ends, dataset["starts"][:], strict=True)
        ]
        return _answers(spans, dataset, task)

    def no_better(self, answers: np.ndarray, dataset: Dataset, task: Task) -> str | None:
        """By F1, against no answer at all and against the whole context."""
        contexts, by_f1 = _questions(dataset)["context"][:], replace(task, metrics=("f1",))
        whole = np.array([[0, len(context)] for context in contexts])
        right, nothing, everything = (
            self.score(chosen, dataset, by_f1)["f1"] for chosen in (answers, np.zeros_like(whole), whole)
        )
        return compared("f1", right, max(nothing, everything), "answering nothing, or the whole context,")

    def predictions(self, answers: np.ndarray, dataset: Dataset, task: Task) -> Iterator[dict[str, Any]]:
        for index, text in enumerate(_texts(answers, _questions(dataset))):
            yield {"index": index, "prediction": text}


class QuestionCollator:
    """Pads inputs; `labels` become start_positions and end_positions, as models for question answering take them."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.pad = DataCollatorWithPadding(tokenizer)

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch = dict(self.pad([without(example, OF_WINDOWS) for example in examples]))
        batch["start_positions"], batch["end_positions"] = batch.pop("labels").unbind(1)
        return batch


def _read_answers(given: Any, context: str, where: str, task: Task) -> dict[str, list[Any]]:
    """Return answers in the layout of the Hub, from it or from SQuAD's own; UserError unless the context has them."""
    if isinstance(given, list) and all(isinstance(answer, Mapping) for answer in given):
        given = {key: [answer.get(key) for answer in given] for key in ("text", "answer_start")}
    texts, starts = (given.get(key) if isinstance(given, Mapping) else None for key in ("text", "answer_start"))
    if texts is None or starts is None or len(texts) != len(starts) or None in (*texts, *starts):
        raise UserError(
            f"{where}: column '{task.label_column}' must hold {{'text': [...], 'answer_start': [...]}}, as JSON lines "
            f"and parquet can, but holds {given!r:.80}"
        )
    if not texts and not task.answer_windows.unanswerable:
        raise UserError(f"{where} has no answer; set task.windows.unanswerable=true where that is meant")
    for text, start in zip(texts, starts, strict=True):
        if not text or context[start : start + len(text)] != text:
            raise UserError(
                f"{where}: the answer {text!r} is not in its context from character {start}, where there is "
                f"{context[start : start + len(text)]!r}"
            )
    return {"text": list(texts), "answer_start": list(starts)}


def _encoded_windows(
    inputs: BatchEncoding,
    contexts: Sequence[str],
    answers: Sequence[Mapping[str, Any] | None],
    indices: Sequence[int],
    tokenizer: PreTrainedTokenizerBase,
) -> dict[str, list[Any]]:
    """Return the columns of the windows of some rows."""
    of_rows = inputs["overflow_to_sample_mapping"]
    columns: dict[str, list[Any]] = {name: inputs[name] for name in tokenizer.model_input_names if name in inputs}
    columns |= {name: [] for name in OF_WINDOWS}
    columns["labels"] = []
    for window, row in enumerate(of_rows):
        is_context = [of == 1 for of in inputs.sequence_ids(window)]
        offsets = inputs["offset_mapping"][window]
        starts = [start if inside else OUTSIDE for (start, _), inside in zip(offsets, is_context, strict=True)]
        ends = [end if inside else OUTSIDE for (_, end), inside in zip(offsets, is_context, strict=True)]
        answer, references = _first(answers[row])
        columns["labels"].append(_tokens(answer, starts, ends))
        for name, value in (
            ("example", indices[row]),
            ("starts", starts),
            ("ends", ends),
            ("context", contexts[row]),
            ("references", references),
            ("answer", answer),
        ):
            columns[name].append(value)
    return columns


def _first(given: Mapping[str, Any] | None) -> tuple[list[int], list[str]]:
    """Return the characters [start, end) of the first reference, and all references."""
    if given is None:
        return HIDDEN, []
    texts = list(given["text"])
    if not texts:
        return NOTHING, []
    start = given["answer_start"][0]
    return [start, start + len(texts[0])], texts


def _tokens(answer: Sequence[int], starts: Sequence[int], ends: Sequence[int]) -> list[int]:
    """Return the first and the last token of an answer, both CLS where a window does not hold all of it."""
    if answer == HIDDEN:
        return HIDDEN
    inside = [n for n, (start, end) in enumerate(zip(starts, ends, strict=True)) if start != OUTSIDE and end > start]
    covered = [n for n in inside if starts[n] < answer[1] and ends[n] > answer[0]]
    if answer == NOTHING or not covered or starts[covered[0]] > answer[0] or ends[covered[-1]] < answer[1]:
        return [CLS, CLS]
    return [covered[0], covered[-1]]


def _span(logits: torch.Tensor, starts: Sequence[int], task: Task) -> AnswerSpan:
    """Return the best span of a window. logits: (L, 2)."""
    if not bool(logits.isfinite().all()):
        raise Diverged(
            "the logits of a window are not finite: its weights or its precision are at fault; run it in float32, or "
            "take another one"
        )
    return best_span(logits, torch.tensor(starts) != OUTSIDE, CLS, task.answer_windows.longest_answer)


def _answers(spans: Sequence[AnswerSpan], dataset: Dataset, task: Task) -> np.ndarray:
    offsets = [
        list(zip(*of_window, strict=True)) for of_window in zip(dataset["starts"][:], dataset["ends"][:], strict=True)
    ]
    examples = np.unique(np.asarray(dataset["example"][:]), return_inverse=True)[1]
    return best_answers(spans, offsets, examples, unanswerable=task.answer_windows.unanswerable)


def _questions(dataset: Dataset) -> Dataset:
    """Return the first window of every question."""
    _, firsts = np.unique(np.asarray(dataset["example"][:]), return_index=True)
    return dataset.select(firsts).select_columns(["context", "references", "answer"])


def _texts(answers: np.ndarray, questions: Dataset) -> list[str]:
    return [context[start:end] for context, (start, end) in zip(questions["context"][:], answers.tolist(), strict=True)]
