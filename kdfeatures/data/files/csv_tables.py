"""CSV and its relatives: the separator, the header, and quotes that are none."""

from __future__ import annotations

import csv
import io
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.compute
import pyarrow.csv

from kdfeatures.errors import UserError
from kdfeatures.tasks.fact_types import DELIMITER_NAMES

logger = logging.getLogger(__name__)

DELIMITERS = (",", ";", "\t", "|")
NAMES = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}
NULLS = frozenset(pyarrow.csv.ConvertOptions().null_values)  # how numbers that are missing are written
WAYS_OUT = "write a quote inside a field as two, or say task.quotes=false if quotes are text"


@dataclass(frozen=True)
class Row:
    """The fields of a row and its first and last line, counted from 1 as editors do."""

    fields: list[str]
    first: int
    last: int


class _Misquoted(ValueError):
    """A quote that does not enclose a whole field."""


def read_csv(
    path: Path, text: str, columns: Sequence[str], *, delimiter: str | None, quotes: bool | None = None
) -> pyarrow.Table:
    """Return the table of a CSV file's text, whose `columns` are read as text, whatever they look like.

    delimiter: None takes the tab for .tsv, what a first line `sep=;` says, or else what splits the header into the
    columns. quotes: True, they enclose fields, in which they are doubled; False, they are text; None, they enclose
    fields, but in a .tsv where one does not, or encloses lines that are rows, they are text.
    Raises UserError, with the line, for a row of more or fewer fields than the header, a quote that does not enclose a
    field, and one that encloses rows; and for a header with one of the columns twice.
    """
    first = 1
    if text[:4].lower() == "sep=" and len(text.partition("\n")[0].strip()) == len("sep=") + 1:
        delimiter, text, first = delimiter or text[4], text.partition("\n")[2], 2
    delimiter = None if delimiter is None else DELIMITER_NAMES.get(delimiter, str(delimiter))
    if not text.strip():
        raise UserError(f"'{path}' is not a CSV file with a header line: it is empty")
    is_tsv = ".tsv" in path.name.lower()
    line = next(part for part in io.StringIO(text) if part.strip())
    chosen = delimiter or ("\t" if is_tsv else _delimiter(line, columns))
    if delimiter is None and not is_tsv and chosen != ",":
        logger.info(f"{path}: columns are separated by a {NAMES[chosen]}.")
    try:
        header, *rows = _rows(text, chosen, first, path, quoted=quotes is not False)
        if quotes is None:
            _check_swallowed(header, rows, text, chosen, first)
    except _Misquoted as error:
        if not is_tsv or quotes:
            raise UserError(f"'{path}': {error}") from error
        header, *rows = _rows(text, chosen, first, path, quoted=False)
    _check_header(header.fields, columns, path)
    broken = [n for n, row in enumerate(rows) if row.last > row.first]
    if broken:
        logger.warning(
            f"{path}: {len(broken)} of {len(rows)} rows hold a line break inside a field, first row {broken[0]}."
        )
    return _table(header.fields, rows, columns)


def _rows(text: str, delimiter: str, first: int, path: Path, *, quoted: bool) -> list[Row]:
    """Return the rows of a text, the header's too, without blank lines. first: the number of its first line."""
    quoting: Any = {} if quoted else {"quoting": csv.QUOTE_NONE, "quotechar": None}
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, **quoting)
    rows: list[Row] = []
    start = first
    with _fields_of_any_size():
        try:
            for fields in reader:
                row = Row(fields, start, first + reader.line_num - 1)
                start = row.last + 1
                if not fields:
                    continue
                rows.append(row)
                if len(fields) != len(rows[0].fields):
                    raise UserError(
                        f"'{path}': line {row.first} has {_fields(len(fields))}, the header {len(rows[0].fields)}: "
                        f"{delimiter.join(fields)!r:.60}; put a field that holds the separator in quotes"
                    )
        except csv.Error as error:
            if "end of data" in str(error):
                raise _Misquoted(f"a quote that opens in line {start} does not close; {WAYS_OUT}") from error
            last = first + reader.line_num - 1
            where = f"in line {last}" if last == start else f"of the row in lines {start} to {last}"
            raise _Misquoted(f"a quote {where} does not enclose a whole field; {WAYS_OUT}") from error
    return rows


def _fields(count: int) -> str:
    return "1 field" if count == 1 else f"{count} fields"


@contextmanager
def _fields_of_any_size() -> Iterator[None]:
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _delimiter(header: str, columns: Sequence[str]) -> str:
    """Return what splits the header into the columns that are read, the comma where nothing does."""
    for delimiter in DELIMITERS:
        if set(columns) & set(next(csv.reader([header], delimiter=delimiter), ())):
            return delimiter
    counts = Counter({delimiter: header.count(delimiter) for delimiter in DELIMITERS})
    return "," if counts[","] else counts.most_common(1)[0][0] if counts.most_common(1)[0][1] else ","


def _check_header(header: Sequence[str], columns: Sequence[str], path: Path) -> None:
    twice = [name for name, count in Counter(header).items() if count > 1 and name in columns]
    if twice:
        raise UserError(f"'{path}' has the column '{twice[0]}' twice in its header line; rename one")


def _check_swallowed(header: Row, rows: Sequence[Row], text: str, delimiter: str, first: int) -> None:
    """Raise _Misquoted for a row over several lines each of which is a row itself, as two lone quotes leave it.

    Such a line has as many fields as the header, and in some column what another row has there: a class or a number.
    """
    suspects = [row for row in rows if row.last > row.first]
    if not suspects:
        return
    lines = io.StringIO(text, newline="").readlines()
    alone = {
        row.first: [line.rstrip("\r\n").split(delimiter) for line in _lines(lines, row, first)] for row in suspects
    }
    seen = [Counter[str]() for _ in header.fields]
    for fields in [row.fields for row in rows if row.last == row.first] + [
        one for some in alone.values() for one in some
    ]:
        if len(fields) == len(header.fields):
            for counter, field in zip(seen, fields, strict=True):
                counter[_shape(field)] += 1
    for row in suspects:
        if all(
            len(fields) == len(header.fields)
            and any(counter[_shape(field)] > 1 for counter, field in zip(seen, fields, strict=True))
            for fields in alone[row.first]
        ):
            count = row.last - row.first + 1
            raise _Misquoted(
                f"the quotes in lines {row.first} and {row.last} make one row of {count} lines that are rows; "
                f"{WAYS_OUT}, or task.quotes=true if they enclose one field"
            )


def _lines(lines: Sequence[str], row: Row, first: int) -> Sequence[str]:
    return lines[row.first - first : row.last - first + 1]


def _shape(field: str) -> str:
    """Return what fields of one kind have in common: that they are numbers, or the same word."""
    try:
        float(field)
    except ValueError:
        return field
    return "number"


def _table(header: Sequence[str], rows: Sequence[Row], columns: Sequence[str]) -> pyarrow.Table:
    arrays: dict[str, pyarrow.Array] = {}
    for n, name in enumerate(header):
        if name not in arrays:  # of a name that is not read, the first
            values = pyarrow.array([row.fields[n] for row in rows], pyarrow.string())
            arrays[name] = values if name in columns else _typed(values)
    return pyarrow.table(arrays)


def _typed(values: pyarrow.Array) -> pyarrow.Array:
    """Return a column as whole numbers or numbers where all that are not missing are, or else as it is."""
    trimmed = pyarrow.compute.utf8_trim_whitespace(values)
    is_missing = pyarrow.compute.is_in(trimmed, value_set=pyarrow.array(sorted(NULLS)))
    numbers = pyarrow.compute.if_else(is_missing, None, trimmed)
    for kind in (pyarrow.int64(), pyarrow.float64()):
        try:
            return numbers.cast(kind)
        except pyarrow.ArrowInvalid:
            continue
    return values
