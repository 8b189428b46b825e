"""A fast tokenizer cut to some of its pieces, so that texts made of these are split as before.

Why they are: WordPiece takes the longest piece that fits, and what was the longest of all is so among fewer. Byte-pair
encoding joins pieces in the order of its merges, and all merges that lead to a kept piece are kept. A unigram model
takes the likeliest split, and what was likeliest of all is so among fewer. Single characters and bytes always stay, so
that other texts can be split, too.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from tokenizers import Tokenizer, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from kdfeatures.errors import UserError

KEPT_SETTINGS = ("model_max_length", "model_input_names", "padding_side", "truncation_side")


class CutTokenizer(NamedTuple):
    """old_ids: the id that each of its pieces had, in the order of the new ids."""

    tokenizer: PreTrainedTokenizerFast
    old_ids: list[int]


def cut_tokenizer(tokenizer: PreTrainedTokenizerBase, used: Collection[int], option: str) -> CutTokenizer:
    """Return a tokenizer with the pieces `used`, special and added tokens, and what is needed to split any text.

    New ids are dense and in the order of the old ones, but the padding token keeps its id where it can: RoBERTa counts
    positions from it. option: how errors call the tokenizer. Raises UserError for a slow one, and for a model of pieces
    that is none of WordPiece, WordLevel, BPE and Unigram.
    """
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise UserError(
            f"{option} has a slow tokenizer, whose vocabulary cannot be cut; save a fast one (tokenizer.json)."
        )
    state = json.loads(backend.to_str())
    names = {id_: piece for piece, id_ in tokenizer.get_vocab().items()}
    kept = set(used) | set(tokenizer.all_special_ids) | {added["id"] for added in state["added_tokens"]}
    kind = state["model"]["type"]
    if kind not in _CUTTERS:
        raise UserError(f"{option} has a tokenizer of the kind {kind}, whose vocabulary cannot be cut; leave it whole.")
    kept |= _CUTTERS[kind](state["model"], {names[id_] for id_ in kept})
    old_ids = _ordered(kept, tokenizer.pad_token_id)
    new_ids = {old: new for new, old in enumerate(old_ids)}
    _renumber(state, new_ids)
    settings = {name: getattr(tokenizer, name) for name in KEPT_SETTINGS}
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)}
    cut = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(state)), **settings, **special)
    return CutTokenizer(cut, old_ids)


def _ordered(kept: Collection[int], padding: int | None) -> list[int]:
    old_ids = sorted(kept)
    if padding is not None and padding < len(old_ids) and old_ids[padding] != padding:
        old_ids.remove(padding)
        old_ids.insert(padding, padding)
    return old_ids


def _renumber(state: dict[str, Any], new_ids: Mapping[int, int]) -> None:
    """Give all that a tokenizer.json numbers its new id, in place."""
    model = state["model"]
    if model["type"] == "Unigram":
        pieces = model["vocab"]
        model["vocab"] = [pieces[old] for old in new_ids if old < len(pieces)]
        if model["unk_id"] is not None:
            model["unk_id"] = new_ids[model["unk_id"]]
    else:
        model["vocab"] = {piece: new_ids[id_] for piece, id_ in model["vocab"].items() if id_ in new_ids}
    for added in state["added_tokens"]:
        added["id"] = new_ids[added["id"]]
    state["truncation"] = state["padding"] = None
    _renumber_template(state["post_processor"], new_ids)


def _renumber_template(processor: dict[str, Any] | None, new_ids: Mapping[int, int]) -> None:
    if processor is None:
        return
    for inner in processor.get("processors", ()):
        _renumber_template(inner, new_ids)
    for name in ("sep", "cls"):
        if isinstance(processor.get(name), list):
            processor[name][1] = new_ids[processor[name][1]]
    special = processor.get("special_tokens")
    for token in special.values() if isinstance(special, dict) else ():
        token["ids"] = [new_ids[id_] for id_ in token["ids"]]


def _word_pieces(model: dict[str, Any], kept: Collection[str]) -> set[int]:
    prefix = model.get("continuing_subword_prefix", "")
    return {id_ for piece, id_ in model["vocab"].items() if len(piece.removeprefix(prefix)) == 1}


def _whole_words(model: dict[str, Any], kept: Collection[str]) -> set[int]:
    return {model["vocab"][model["unk_token"]]} if model["unk_token"] in model["vocab"] else set()


def _merged(model: dict[str, Any], kept: Collection[str]) -> set[int]:
    """Return the ids of all pieces on the way to the kept ones, and leave the merges that lead there, in place."""
    vocabulary = model["vocab"]
    marks = _Marks(model.get("continuing_subword_prefix") or "", model.get("end_of_word_suffix") or "")
    alphabet = {piece for piece in vocabulary if len(marks.characters(piece)) == 1 or _is_byte(piece)}
    alphabet |= {sign for sign in pre_tokenizers.ByteLevel.alphabet() if sign in vocabulary}
    merges = [tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ")) for merge in model["merges"]]
    ranks = {merge: rank for rank, merge in enumerate(merges)}
    pieces, needed = set(alphabet), set()
    for piece in kept:
        for merge in _merges_to(piece, ranks, marks):
            needed.add(merge)
            pieces.update((*merge, marks.joined(*merge)))
    model["merges"] = [list(merge) for merge in merges if merge in needed]
    return {vocabulary[piece] for piece in pieces if piece in vocabulary}


class _Marks(NamedTuple):
    """What byte-pair pieces carry that are not at a word's beginning, and those at its end; mostly nothing."""

    prefix: str
    suffix: str

    def characters(self, piece: str) -> list[str]:
        """Return the pieces of one character each that a piece is made of."""
        inner = bool(self.prefix) and piece.startswith(self.prefix)
        bare = piece.removeprefix(self.prefix)
        last = self.suffix if len(bare) > len(self.suffix) and bare.endswith(self.suffix) else ""
        parts = [(self.prefix if at or inner else "") + sign for at, sign in enumerate(bare.removesuffix(last))]
        return [*parts[:-1], *(part + last for part in parts[-1:])]

    def joined(self, left: str, right: str) -> str:
        """Return the piece that a merge makes."""
        return left + right.removeprefix(self.prefix)


def _merges_to(piece: str, ranks: Mapping[tuple[str, ...], int], marks: _Marks) -> list[tuple[str, str]]:
    """Return the merges by which byte-pair encoding makes a piece of its characters, in their order."""
    parts = marks.characters(piece)
    applied: list[tuple[str, str]] = []
    while len(parts) > 1:
        pairs = [(parts[n], parts[n + 1]) for n in range(len(parts) - 1)]
        best = min(pairs, key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            return applied
        applied.append(best)
        joined, n = [], 0
        while n < len(parts):
            if tuple(parts[n : n + 2]) == best:
                joined.append(marks.joined(*best))
                n += 2
            else:
                joined.append(parts[n])
                n += 1
        parts = joined
    return applied


def _likely(model: dict[str, Any], kept: Collection[str]) -> set[int]:
    """Return single characters, bytes, and the least likely piece, from which the price of unknown signs is counted."""
    pieces = model["vocab"]
    least = min(range(len(pieces)), key=lambda n: pieces[n][1])
    single = {n for n, (piece, _) in enumerate(pieces) if len(piece) == 1 or _is_byte(piece)}
    return {*single, least, *([] if model["unk_id"] is None else [model["unk_id"]])}


def _is_byte(piece: str) -> bool:
    return len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">")


_CUTTERS = {"WordPiece": _word_pieces, "WordLevel": _whole_words, "BPE": _merged, "Unigram": _likely}
