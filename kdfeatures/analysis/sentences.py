"""The sentences whose attention a page shows, and their maps in one byte a value."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kdfeatures.alignment.tokens.groups import Side
from kdfeatures.analysis.batches import PairBatch, pair_batch
from kdfeatures.analysis.head_similarity import changed
from kdfeatures.capture.context import eval_pass
from kdfeatures.errors import UserError
from kdfeatures.evaluation.encoded import token_counts
from kdfeatures.mapping.pairs import DEFAULT_TEACHER
from kdfeatures.models.batches import to_device
from kdfeatures.tokenization.teacher_columns import Tokenizers, teacher_inputs_of

FIGURE_MIB = 0.2  # of a figure, with 12 x 12 heads in three panels, for light and dark pages
STEPS = 255  # of a byte; it keeps the square root of a probability, so that small ones are told apart


class ShownSentence(NamedTuple):
    """texts: one, or two of a pair, as they were written. tokens: as the tokenizer reads them, (L,), or groups of them.

    inputs: a batch of one.
    """

    texts: tuple[str, ...]
    tokens: tuple[str, ...]
    inputs: PairBatch


def example_sentences(
    examples: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    others: Tokenizers,
    *,
    count: int,
    longest: int,
    texts: Sequence[tuple[str, ...] | None] | None = None,
) -> list[ShownSentence]:
    """Return the first `count` of the encoded examples that have at most `longest` tokens.

    texts: of the examples, as they were written; for None that is shown which the tokenizer makes of its tokens.
    others: the teacher's tokenizer by its name, where it is another; see `pair_batch`. Raises UserError when sentences
    are asked for and none is so short.
    """
    lengths = token_counts(examples)
    short = [row for row, length in enumerate(lengths.tolist()) if length <= longest][:count]
    if count and not short:
        raise UserError(
            f"no example has at most inspect.sentence_tokens={longest} tokens; the shortest has {int(lengths.min())}."
        )
    rows = examples.select(short).to_list()
    batches = [pair_batch([row], tokenizer, DEFAULT_TEACHER, others) for row in rows]
    written = [None if texts is None else texts[row] for row in short]
    return [_sentence(batch, tokenizer, own) for batch, own in zip(batches, written, strict=True)]


def own_sentences(
    texts: Sequence[Any], tokenizer: PreTrainedTokenizerBase, others: Tokenizers, *, max_length: int
) -> list[ShownSentence]:
    """Return the user's own texts or pairs of texts. Raises UserError for what is no text, or too long."""
    sentences = []
    for number, text in enumerate(texts):
        parts = [text] if isinstance(text, str) else text
        if not isinstance(parts, list) or len(parts) not in (1, 2) or not all(isinstance(part, str) for part in parts):
            raise UserError(
                f"inspect.texts holds {text!r} where a text, or a list of two, should be; put it in quotes."
            )
        longest = max(len(one(*parts)["input_ids"]) for one in (tokenizer, *others.values()))
        if longest > max_length:
            raise UserError(
                f"inspect.texts[{number}] has {longest} tokens, more than data.max_length={max_length}; shorten it."
            )
        row = {name: values[0] for name, values in tokenizer(*([part] for part in parts)).items()}
        for name, other in others.items():
            row |= {column: values[0] for column, values in teacher_inputs_of([parts], tokenizer, name, other).items()}
        sentences.append(_sentence(pair_batch([row], tokenizer, DEFAULT_TEACHER, others), tokenizer, tuple(parts)))
    return sentences


@torch.no_grad()
def attention_maps(
    model: PreTrainedModel, sentences: Sequence[ShownSentence], layers: Sequence[int], side: Side
) -> dict[int, list[str]]:
    """Return for every layer the maps of all its heads, a string for each sentence.

    It is base64 of H * L * L bytes, round(255 sqrt(p)) of the probability p with which a query attends to a key.
    """
    maps: dict[int, list[str]] = {layer: [] for layer in layers}
    with eval_pass(model, attention=layers) as see:
        for sentence in sentences:
            both = sentence.inputs
            features = see(to_device(both.student if side == "student" else both.teacher, model))
            for layer in layers:
                states = changed(features.attention[layer], Tensor.cpu)
                steps = both.attention(states, side).probs()[0].float().sqrt().mul(STEPS).round().byte()
                maps[layer].append(b64encode(steps.cpu().numpy().tobytes()).decode())
    return maps


def check_page(sentences: Sequence[ShownSentence], heads: int, *, figures: int, max_mib: float) -> None:
    """Raise UserError when the maps of so many heads, over all layers of both models, and figures exceed the page."""
    values = sum(len(sentence.tokens) ** 2 for sentence in sentences) * heads
    size = values * 4 / 3 / 2**20 + figures * FIGURE_MIB
    if size > max_mib:
        raise UserError(
            f"a page with {figures} figures and the attention maps of {len(sentences)} sentences takes about "
            f"{size:.0f} MiB, more than inspect.max_page_mib={max_mib:g}; lower inspect.sentences, map fewer layers "
            "or choose fewer inspect.measures."
        )


def _sentence(inputs: PairBatch, tokenizer: PreTrainedTokenizerBase, written: tuple[str, ...] | None) -> ShownSentence:
    ids = inputs.student["input_ids"][0].tolist()
    shown = [[id_] for id_ in ids]
    if inputs.groups is not None:
        groups = inputs.groups.student.groups[0].tolist()
        shown = [[id_ for id_, of in zip(ids, groups, strict=True) if of == group] for group in range(max(groups) + 1)]
    # a byte-level piece is readable only when it is decoded
    tokens = [
        _text(tokenizer.decode(group)).strip() or "".join(tokenizer.convert_ids_to_tokens(group)) for group in shown
    ]
    return ShownSentence(written or _decoded(ids, tokenizer), tuple(tokens), inputs)


def _decoded(ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """Return what stands between special tokens; an unknown token is no border."""
    borders = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    runs = [list(run) for is_border, run in groupby(ids, lambda id_: id_ in borders) if not is_border]
    return tuple(_text(tokenizer.decode(run)).strip() for run in runs)


def _text(decoded: str | list[str]) -> str:
    assert isinstance(decoded, str)  # as it is of ids that are no batch
    return decoded
