"""Which tokens of two tokenizers belong together: those between the same two boundaries of the text.

A boundary is a place in the text that no token spans. Between two boundaries that both tokenizers have lies a group:
one token or several of either side that cover the same characters. Special tokens are grouped by their role: before the
text, between two texts, after them. What one side has and the other has not, such as the rest of a text that was cut
earlier there, is in no group.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from transformers import BatchEncoding

from kdfeatures.errors import UserError

NO_GROUP = -1
Text = str | Sequence[str]  # or a text that is a list of words


class Span(NamedTuple):
    """The characters of one token: `start` to `end` of text number `sequence`, blanks at either end left out."""

    sequence: int
    start: int
    end: int


def token_spans(encoding: BatchEncoding, row: int, texts: Sequence[Text]) -> list[Span | None]:
    """Return the span of every token of a text, or pair of texts, that was encoded; None for special tokens.

    encoding: of a fast tokenizer, with `offset_mapping`. texts: those of the row, one or two. Words are counted as if
    one blank stood between them.
    """
    whole = [text if isinstance(text, str) else " ".join(text) for text in texts]
    starts = [None if isinstance(text, str) else _starts(text) for text in texts]
    spans: list[Span | None] = []
    words = encoding.word_ids(row)
    for sequence, word, (start, end) in zip(
        encoding.sequence_ids(row), words, encoding["offset_mapping"][row], strict=True
    ):
        if sequence is None:
            spans.append(None)
            continue
        of_words = starts[sequence]
        shift = 0 if of_words is None or word is None else of_words[word]
        text, start, end = whole[sequence], start + shift, end + shift
        while start < end and text[start].isspace():
            start += 1
        while start < end and text[end - 1].isspace():
            end -= 1
        spans.append(Span(sequence, start, end))
    return spans


def group_tokens(
    student: Sequence[Span | None], teacher: Sequence[Span | None], texts: Sequence[Text]
) -> tuple[list[int], list[int]]:
    """Return the group of every token on both sides, counted from 0 in the order of the text; NO_GROUP for none.

    >>> a = [None, Span(0, 0, 3), Span(0, 3, 6), Span(0, 7, 9), None]  # [CLS] foo ##bar is [SEP]
    >>> b = [None, Span(0, 0, 6), Span(0, 7, 8), Span(0, 8, 9), None]  # <s> foobar i s </s>
    >>> group_tokens(a, b, ["foobar is"])
    ([0, 1, 1, 2, 3], [0, 1, 2, 2, 3])
    """
    whole = [text if isinstance(text, str) else " ".join(text) for text in texts]
    groups = [NO_GROUP] * len(student), [NO_GROUP] * len(teacher)
    count = 0
    for own, its in zip(_parts(student, len(texts)), _parts(teacher, len(texts)), strict=True):
        matched = [(own.tokens, its.tokens)]
        if own.sequence is not None:
            matched = _matched(_atoms(own.tokens, student), _atoms(its.tokens, teacher), whole[own.sequence])
        for of_student, of_teacher in matched:
            if not (of_student and of_teacher):
                continue
            for index in of_student:
                groups[0][index] = count
            for index in of_teacher:
                groups[1][index] = count
            count += 1
    return groups


def check_offsets(is_fast: bool, option: str) -> None:
    """Raise UserError for a tokenizer that does not tell where its tokens lie in the text."""
    if not is_fast:
        raise UserError(
            f"{option} has a slow tokenizer, which does not tell where its tokens lie in the text, so layers cannot be "
            "compared with a model of another tokenizer; save a fast one (tokenizer.json), or use logits alone, such "
            "as recipe=logits."
        )


class _Part(NamedTuple):
    """Tokens of one text, or the special ones in front of, between or behind texts, which are of none."""

    sequence: int | None
    tokens: list[int]


class _Atom(NamedTuple):
    """Tokens that no boundary parts, and what they cover."""

    tokens: list[int]
    start: int
    end: int


def _parts(spans: Sequence[Span | None], texts: int) -> list[_Part]:
    of_text: list[list[int]] = [[] for _ in range(texts)]
    special: list[list[int]] = [[] for _ in range(texts + 1)]
    seen = 0  # texts that have begun
    for index, span in enumerate(spans):
        if span is None:
            special[seen].append(index)
        else:
            of_text[span.sequence].append(index)
            seen = span.sequence + 1
    if not of_text[0]:  # an empty text: what stands before it is one token, and the rest behind it
        later = 1 if texts > 1 and of_text[1] else texts
        rest = special[0][1:] if len(special[0]) > 1 or later < texts else special[0]
        special[0], special[later] = [index for index in special[0] if index not in rest], rest + special[later]
    if texts > 1 and not of_text[1]:
        behind = special[1] + special[2]
        special[1], special[2] = behind[:-1], behind[-1:]
    parts = [_Part(None, special[0])]
    for number in range(texts):
        parts += [_Part(number, of_text[number]), _Part(None, special[number + 1])]
    return parts


def _starts(words: Sequence[str]) -> list[int]:
    starts, place = [], 0
    for word in words:
        starts.append(place)
        place += len(word) + 1
    return starts


def _atoms(tokens: Sequence[int], spans: Sequence[Span | None]) -> list[_Atom]:
    atoms: list[_Atom] = []
    empty: list[int] = []  # a blank that is a token by itself goes with what follows it
    for index in tokens:
        span = spans[index]
        assert span is not None
        if span.start >= span.end:
            empty.append(index)
        elif atoms and span.start < atoms[-1].end:  # bytes of one character, each with its span
            last = atoms[-1]
            atoms[-1] = _Atom([*last.tokens, *empty, index], min(last.start, span.start), max(last.end, span.end))
            empty = []
        else:
            atoms.append(_Atom([*empty, index], span.start, span.end))
            empty = []
    if empty and atoms:
        atoms[-1] = atoms[-1]._replace(tokens=[*atoms[-1].tokens, *empty])
    return atoms


def _matched(student: Sequence[_Atom], teacher: Sequence[_Atom], text: str) -> list[tuple[list[int], list[int]]]:
    """Return the tokens of both sides between common boundaries."""
    groups: list[tuple[list[int], list[int]]] = []
    s = t = 0
    of_student: list[int] = []
    of_teacher: list[int] = []
    while s < len(student) and t < len(teacher):
        of_student = of_student or list(student[s].tokens)
        of_teacher = of_teacher or list(teacher[t].tokens)
        end_s, end_t = student[s].end, teacher[t].end
        if max(end_s, end_t) <= min(_next(student, s, text), _next(teacher, t, text)):
            groups.append((of_student, of_teacher))
            of_student, of_teacher = [], []
            s, t = s + 1, t + 1
        elif end_s < end_t:
            s += 1
            of_student += student[s].tokens if s < len(student) else []
        else:
            t += 1
            of_teacher += teacher[t].tokens if t < len(teacher) else []
    return groups


def _next(atoms: Sequence[_Atom], position: int, text: str) -> int:
    """Return where the next atom begins: up to there the boundary behind this one reaches, over blanks."""
    if position + 1 < len(atoms):
        return atoms[position + 1].start
    end = atoms[position].end
    while end < len(text) and text[end].isspace():
        end += 1
    return end
