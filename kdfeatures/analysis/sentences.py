"""The sentences whose attention a page shows, and their maps in one byte a value."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kdfeatures.capture.context import eval_pass
from kdfeatures.errors import UserError
from kdfeatures.evaluation.encoded import token_counts
from kdfeatures.models.batches import Batch, to_device

FIGURE_MIB = 0.1  # of a figure, with 12 x 12 heads in three panels
STEPS = 255  # of a byte; it keeps the square root of a probability, so that small ones are told apart


class ShownSentence(NamedTuple):
    """text: without special tokens. tokens: as a reader knows them, (L,). inputs: of both models, (1, L)."""

    text: str
    tokens: tuple[str, ...]
    inputs: Batch


def example_sentences(
    examples: Dataset, tokenizer: PreTrainedTokenizerBase, *, count: int, longest: int
) -> list[ShownSentence]:
    """Return the first `count` of the encoded examples that have at most `longest` tokens.

    Raises UserError when sentences are asked for and none is so short.
    """
    lengths = token_counts(examples)
    short = [row for row, length in enumerate(lengths.tolist()) if length <= longest][:count]
    if count and not short:
        raise UserError(
            f"no example has at most inspect.sentence_tokens={longest} tokens; the shortest has {int(lengths.min())}."
        )
    names = [name for name in examples.column_names if name in tokenizer.model_input_names]
    return [_sentence(row, tokenizer) for row in examples.select_columns(names).select(short).to_list()]


def own_sentences(texts: Sequence[Any], tokenizer: PreTrainedTokenizerBase, *, max_length: int) -> list[ShownSentence]:
    """Return the user's own texts or pairs of texts. Raises UserError for what is no text, or too long."""
    sentences = []
    for number, text in enumerate(texts):
        parts = [text] if isinstance(text, str) else text
        if not isinstance(parts, list) or len(parts) not in (1, 2) or not all(isinstance(part, str) for part in parts):
            raise UserError(
                f"inspect.texts holds {text!r} where a text, or a list of two, should be; put it in quotes."
            )
        row = dict(tokenizer(*parts))
        if len(row["input_ids"]) > max_length:
            raise UserError(
                f"inspect.texts[{number}] has {len(row['input_ids'])} tokens, more than data.max_length={max_length}; "
                "shorten it."
            )
        sentences.append(_sentence(row, tokenizer))
    return sentences


@torch.no_grad()
def attention_maps(
    model: PreTrainedModel, sentences: Sequence[ShownSentence], layers: Sequence[int]
) -> dict[int, list[str]]:
    """Return for every layer the maps of all its heads, a string for each sentence.

    It is base64 of H * L * L bytes, round(255 sqrt(p)) of the probability p with which a query attends to a key.
    """
    maps: dict[int, list[str]] = {layer: [] for layer in layers}
    with eval_pass(model, attention=layers) as see:
        for sentence in sentences:
            features = see(to_device(sentence.inputs, model))
            for layer in layers:
                steps = features.attention_probs(layer)[0].float().sqrt().mul(STEPS).round().byte()
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


def _sentence(row: dict[str, list[int]], tokenizer: PreTrainedTokenizerBase) -> ShownSentence:
    ids = row["input_ids"]
    # a byte-level piece is readable only when it is decoded
    tokens = [_text(tokenizer.decode([id_])).strip() or _text(tokenizer.convert_ids_to_tokens(id_)) for id_ in ids]
    inputs = {name: torch.tensor([values]) for name, values in row.items()}
    return ShownSentence(_text(tokenizer.decode(ids, skip_special_tokens=True)), tuple(tokens), inputs)


def _text(decoded: str | list[str]) -> str:
    assert isinstance(decoded, str)  # as it is of ids that are no batch
    return decoded
