"""A small task on words: names of one or two words among others, with a tokenizer that cuts some words into pieces."""

from __future__ import annotations

import json
import random
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from kdfeatures.tasks.task import Task

TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
FIRST, LAST, PLACE = ("ada", "alan", "grace"), ("lovelace", "turing", "hopper"), ("bath", "wells", "york")
OTHERS = ("met", "near", "saw", "in", "the", "garden", "slept", "sleepless")
PIECES = ("love", "##lace", "tur", "##ing", "hop", "##per", "sleep", "##less", "##t", "new", "sle", "##p", ".")
TASK = Task(
    name="names",
    kind="tokens",
    text=("tokens",),
    label="tags",
    labels=TAGS,
    metrics=("entity_f1",),
    splits={"train": "train", "validation": "validation"},
    files={"train": "train.jsonl", "validation": "validation.jsonl"},
)


def pieces_tokenizer() -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer that drops control characters, as BERT's does: sleepless is sleep ##less."""
    whole = [word for word in (*FIRST, *PLACE, *OTHERS) if word != "sleepless"]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *whole, *PIECES]
    inner = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer()
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def sentences(count: int, seed: int) -> list[dict[str, list[str]]]:
    """Return rows of tokens and their tags; a place is an entity after "new" only."""
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        phrases = [_phrase(rng) for _ in range(rng.randint(2, 5))]
        rows.append({"tokens": sum((p[0] for p in phrases), []), "tags": sum((p[1] for p in phrases), [])})
    return rows


def _phrase(rng: random.Random) -> tuple[list[str], list[str]]:
    first, last, place, other = (rng.choice(words) for words in (FIRST, LAST, PLACE, OTHERS))
    return rng.choice(
        [
            ([other], ["O"]),
            ([place], ["O"]),
            ([first], ["B-PER"]),
            ([first, last], ["B-PER", "I-PER"]),
            (["new", place], ["B-LOC", "I-LOC"]),
        ]
    )


def write_sentences(path: Path, rows: list[dict]) -> None:
    """Write JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
