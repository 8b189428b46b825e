"""Groups of tokens of two tokenizers, held against the characters that they cover."""

from itertools import product

import pytest
from support.tokenizer_kinds import KINDS, TEXTS, tokenizer_of

from kdfeatures.alignment.tokens.spans import NO_GROUP, Span, check_offsets, group_tokens, token_spans
from kdfeatures.errors import UserError


def spans_of(kind, texts, **options):
    encoding = tokenizer_of(kind)(*[[text] for text in texts], return_offsets_mapping=True, **options)
    return token_spans(encoding, 0, texts), encoding["input_ids"][0]


def characters(spans, groups):
    """Return what each group covers, a set of (text, character without blanks)."""
    covered = {}
    for span, group in zip(spans, groups, strict=True):
        if span is not None and group != NO_GROUP:
            covered.setdefault(group, set()).update((span.sequence, n) for n in range(span.start, span.end))
    return covered


def boundaries(spans, sequence):
    """Return the places between characters that no token spans: an oracle on characters instead of tokens."""
    inside = set()
    for span in spans:
        if span is not None and span.sequence == sequence:
            inside |= set(range(span.start + 1, span.end))
    return inside


@pytest.mark.parametrize(("student", "teacher"), list(product(KINDS, KINDS)))
def test_groups_are_the_finest_that_cover_the_same_characters(student, teacher):
    for texts in [(text,) for text in TEXTS] + list(zip(TEXTS, reversed(TEXTS), strict=True)):
        (own, _), (its, _) = spans_of(student, texts), spans_of(teacher, texts)
        groups = group_tokens(own, its, texts)
        assert min(*groups[0], *groups[1]) == 0  # nothing is cut, so every token has a group
        assert all(x <= y for side in groups for x, y in zip(side, side[1:], strict=False))
        covered = characters(own, groups[0]), characters(its, groups[1])
        assert covered[0].keys() == covered[1].keys()
        for sequence, text in enumerate(texts):
            joined = boundaries(own, sequence) | boundaries(its, sequence)
            blanks = {n for n, sign in enumerate(text) if sign.isspace()}
            expected, current = [], set()
            for n in range(len(text)):
                if n not in joined and current and n - 1 not in blanks:
                    expected.append(current)
                    current = set()
                if n in blanks and current and n not in joined:
                    expected.append(current)
                    current = set()
                if n not in blanks:
                    current.add((sequence, n))
            expected += [current] if current else []
            both = [
                covered[0][group] | covered[1][group] for group in sorted(covered[0]) if group in covered[0]
                and next(iter(covered[0][group]))[0] == sequence
            ]  # fmt: skip
            assert both == [part for part in expected if part]


@pytest.mark.parametrize("kind", ["wordpiece uncased", "wordpiece cased"])
def test_the_same_tokenizer_gives_each_token_a_group_of_its_own(kind):
    for text in TEXTS:
        spans, ids = spans_of(kind, (text,))
        assert group_tokens(spans, spans, (text,)) == (list(range(len(ids))),) * 2


def test_bytes_of_one_character_stay_together():
    spans, ids = spans_of("byte-bpe", ("Ελ",))
    groups, _ = group_tokens(spans, spans, ("Ελ",))
    assert len(ids) > len(set(groups)) and groups == sorted(groups)


def test_special_tokens_are_grouped_by_their_role():
    texts = ("a dog", "a cat")
    (own, _), (its, _) = spans_of("wordpiece uncased", texts), spans_of("byte-bpe", texts)
    groups = group_tokens(own, its, texts)
    special = [[group for span, group in zip(spans, side, strict=True) if span is None]
               for spans, side in zip((own, its), groups, strict=True)]  # fmt: skip
    assert len(special[0]) == 3 and len(special[1]) == 4  # [CLS] [SEP] [SEP], <s> </s></s> </s>
    assert special[1] == [special[0][0], special[0][1], special[0][1], special[0][2]]


@pytest.mark.parametrize("texts", [("",), ("", ""), ("a dog", ""), ("", "a dog")])
def test_an_empty_text_has_its_special_tokens(texts):
    (own, _), (its, _) = spans_of("wordpiece uncased", texts), spans_of("byte-bpe", texts)
    groups = group_tokens(own, its, texts)
    assert set(groups[0]) == set(groups[1]) and min(groups[0]) == 0


@pytest.mark.parametrize(("length_s", "length_t"), [(6, 64), (64, 8), (7, 9)])
def test_what_one_side_has_cut_is_in_no_group(length_s, length_t):
    text = "the unbelievable horses were running quickly"
    own, _ = spans_of("wordpiece uncased", (text,), truncation=True, max_length=length_s)
    its, _ = spans_of("byte-bpe", (text,), truncation=True, max_length=length_t)
    groups = group_tokens(own, its, (text,))
    covered = characters(own, groups[0]), characters(its, groups[1])
    shorter = min(max(span.end for span in spans if span) for spans in (own, its))
    assert NO_GROUP in groups[0] or NO_GROUP in groups[1]
    assert all(n < shorter for side in covered for group in side.values() for _, n in group)
    for group in covered[0]:
        assert {n for n in covered[0][group] if not text[n[1]].isspace()} == {
            n for n in covered[1][group] if not text[n[1]].isspace()
        }
    assert groups[0][-1] == groups[1][-1] != NO_GROUP  # [SEP] and </s>


def test_words_are_placed_as_if_a_blank_stood_between_them():
    words = ["unbelievable", "naïve", "horses"]
    both = [
        tokenizer_of(kind)([words], is_split_into_words=True, return_offsets_mapping=True)
        for kind in ("wordpiece uncased", "byte-bpe")
    ]
    whole = [tokenizer_of(kind)([" ".join(words)], return_offsets_mapping=True)
             for kind in ("wordpiece uncased", "byte-bpe")]  # fmt: skip
    for split, text in zip(both, whole, strict=True):
        assert token_spans(split, 0, [words]) == token_spans(text, 0, [" ".join(words)])


def test_dropped_characters_and_a_blank_that_is_a_token_hinder_nothing():
    # one side drops character 3, the other has a token for the blank alone
    own = [Span(0, 0, 3), Span(0, 5, 8)]
    its = [Span(0, 0, 4), Span(0, 5, 5), Span(0, 5, 8)]
    assert group_tokens(own, its, ["abcd efg"]) == ([0, 1], [0, 1, 1])


def test_a_slow_tokenizer_is_refused_with_the_way_out():
    with pytest.raises(UserError, match=r"teacher.path=X has a slow tokenizer.*tokenizer.json.*recipe=logits"):
        check_offsets(False, "teacher.path=X")
    check_offsets(True, "")
