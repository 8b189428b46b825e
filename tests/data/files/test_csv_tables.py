"""CSV as people write it: what encloses a field, what separates two, and where a row that does not fit stands."""

import csv
import random

import pytest

from kdfeatures.data.files.csv_tables import read_csv
from kdfeatures.errors import UserError

HEADER = "text,label"


def read(folder, text, name="a.csv", **options):
    options = {"delimiter": None, **options}
    table = read_csv(folder / name, text, ("text", "label"), **options)
    return [tuple(row.values()) for row in table.to_pylist()]


def refused(folder, text, **options):
    with pytest.raises(UserError) as caught:
        read(folder, text, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("delimiter", "written"), [(":", ":"), ("tab", "\t"), ("\\t", "\t"), ("\t", "\t"), (1, "1")])
def test_a_delimiter_that_is_named_is_taken(tmp_path, delimiter, written):
    text = f'text{written}label\n"a{written} b"{written}x\n'
    assert read(tmp_path, text, delimiter=delimiter) == [(f"a{written} b", "x")]


def test_tables_that_were_written_rightly_are_read_back(tmp_path):
    draw = random.Random(0)
    for _ in range(200):
        rows = [
            ("".join(draw.choices("ab,\"\n'\\ ", k=draw.randrange(1, 12))).strip() or "x", draw.choice("xyz"))
            for _ in range(draw.randrange(1, 8))
        ]
        for name, delimiter in (("a.csv", ","), ("a.tsv", "\t")):
            with open(tmp_path / name, "w", newline="", encoding="utf-8") as file:
                csv.writer(file, delimiter=delimiter).writerows([("text", "label"), *rows])
            text = (tmp_path / name).read_bytes().decode()
            assert read(tmp_path, text, name, quotes=True) == rows


def test_numbers_of_columns_that_are_not_named_are_numbers(tmp_path):
    text = "text,n,score,mixed\na, 1,0.5,1\nb,2,NA,x\nc,,-1e3,\n"
    table = read_csv(tmp_path / "a.csv", text, ("text",), delimiter=None)
    assert table.to_pydict() == {
        "text": ["a", "b", "c"], "n": [1, 2, None], "score": [0.5, None, -1000.0], "mixed": ["1", "x", ""],
    }  # fmt: skip


LONE = [("one", "a"), ('two "quoted', "b"), ("three", "a"), ('"four', "b"), ("five", "a"), ('six 6"', "b"), ("s", "a")]


def test_lone_quotes_that_enclose_rows_are_refused_and_in_tsv_are_text(tmp_path):
    written = {mark: "".join(f"{mark.join(row)}\n" for row in [("text", "label"), *LONE]) for mark in ",\t"}
    error = "the quotes in lines 5 and 7 make one row of 3 lines that are rows"
    assert error in refused(tmp_path, written[","])
    # also where another row holds a comma rightly, and where the file ends with them
    assert error in refused(tmp_path, written[","] + '"a, b",a\n')
    assert "lines 3 and 4" in refused(tmp_path, f'{HEADER}\nx,a\n"Great movie,a\nthis disc is 5",a\n')
    assert read(tmp_path, written["\t"], "a.tsv") == LONE
    assert read(tmp_path, written[","], quotes=False) == LONE
    assert len(read(tmp_path, written[","], quotes=True)) == 5


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ('"He \\"said\\" hi",1', "a quote in line 3 does not enclose a whole field; write a quote inside a field"),
        ('"good" movie,1', "a quote in line 3 does not enclose a whole field"),
        ('"never closed,1', "a quote that opens in line 3 does not close"),
        ('"two\nlines" and,1', "a quote of the row in lines 3 to 4 does not enclose a whole field"),
        ("a, b,1", "line 3 has 3 fields, the header 2: 'a, b,1'; put a field that holds the separator in quotes"),
        ("alone", "line 3 has 1 field, the header 2: 'alone'"),
    ],
)  # fmt: skip
def test_a_row_that_does_not_fit_is_named_by_its_line(tmp_path, row, told):
    assert told in refused(tmp_path, f"{HEADER}\nfine,0\n{row}\nfine,1\n")


def test_quotes_of_a_tsv_are_text_unless_each_encloses_a_field(tmp_path):
    assert read(tmp_path, 'text\tlabel\n"good" movie\tx\n"all"\ty\n', "a.tsv") == [
        ('"good" movie', "x"),
        ('"all"', "y"),
    ]
    assert read(tmp_path, 'text\tlabel\n"a\tb"\tx\n"say ""hi"""\ty\n', "a.tsv") == [("a\tb", "x"), ('say "hi"', "y")]
    assert "a quote in line 2" in refused(tmp_path, 'text\tlabel\n"good" movie\tx\n', name="a.tsv", quotes=True)


def test_a_line_break_inside_a_field_is_kept_and_said(tmp_path, caplog):
    rows = [("one\ntwo", "x"), ("Hello, you\nThere, me", "x"), ("Dear all,\nwe meet, too", "y"), ("three", "y")]
    text = "".join(f'"{text}",{label}\n' for text, label in rows)
    assert read(tmp_path, f"{HEADER}\n{text}") == rows
    assert "3 of 4 rows hold a line break inside a field, first row 0" in caplog.text


def test_a_field_may_be_longer_than_a_book(tmp_path):
    limit = csv.field_size_limit()
    assert read(tmp_path, f"{HEADER}\n{'x' * 200_000},a\n") == [("x" * 200_000, "a")]
    assert csv.field_size_limit() == limit


def test_a_header_with_a_column_twice_and_an_empty_file_are_refused(tmp_path):
    assert "has the column 'label' twice" in refused(tmp_path, "text,label,label\na,b,c\n")
    assert "it is empty" in refused(tmp_path, " \n\n")
    assert "it is empty" in refused(tmp_path, "sep=;")
    assert refused(tmp_path, "sep=;\ntext;label\na;b;c\n").startswith(f"'{tmp_path / 'a.csv'}': line 3 has 3 fields")
