from unittest.mock import Mock

import pytest

from kdfeatures.errors import UserError, first_line
from kdfeatures.tasks.word_alignment import first_pieces


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError("\n\n one\n"), "one"),
        (ValueError("\x1b[31mred\x1b[0m"), "red"),
        (AssertionError(), "AssertionError"),
        (ValueError(" \n"), "ValueError"),
    ],
)
def test_the_first_line_is_what_an_error_says_or_is_called(error, line):
    assert first_line(error) == line


def test_an_error_of_a_library_that_says_nothing_is_one_line():
    tokenizer = Mock(is_fast=True, side_effect=AssertionError)
    with pytest.raises(UserError, match="the tokenizer takes no lists of words: AssertionError$"):
        first_pieces([["a", "word"]], tokenizer, 8)
