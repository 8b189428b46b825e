"""CSV and its relatives: the separator, the header, and quotes that are none."""

from __future__ import annotations

import csv
import io
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow
import pyarrow.csv

from kdfeatures.errors import UserError

logger = logging.getLogger(__name__)

DELIMITERS = (",", ";", "\t", "|")
NAMES = {"\t": "tab", ";": "semicolon", "|": "bar"}


def read_csv(path: Path, text: str, columns: Sequence[str], *, delimiter: str | None) -> pyarrow.Table:
    """Return the table of a CSV file's text, whose `columns` are read as text, whatever they look like.

    delimiter: None takes the tab for .tsv, what a first line `sep=;` says, or else what splits the header into the
    columns. In a .tsv whose lines fit without any quoting, quotes are text. Raises UserError for a header with one of
    the columns twice, and for a quote that swallows lines which are rows.
    """
    lines = text.splitlines(keepends=True)
    if lines and lines[0].lower().startswith("sep=") and len(lines[0].strip()) == len("sep=") + 1:
        delimiter, text = delimiter or lines[0].strip()[-1], "".join(lines[1:])
        lines = lines[1:]
    if not text.strip():
        raise UserError(f"'{path}' is not a CSV file with a header line: it is empty")
    is_tsv = ".tsv" in path.name.lower()
    chosen = delimiter or ("\t" if is_tsv else _delimiter(lines[0], columns))
    if delimiter is None and not is_tsv and chosen != ",":
        logger.info(f"{path}: columns are separated by a {NAMES[chosen]}.")
    header = next(csv.reader([lines[0]], delimiter=chosen))
    _check_header(header, columns, path)
    table = _parsed(text, header, columns, path, chosen, quoted=True)
    broken = _line_breaks(table)
    if broken and _fits_unquoted(lines, chosen, len(header)):
        if not is_tsv:
            raise UserError(
                f"'{path}': a quote opens in row {broken[0]} and closes lines below: {len(lines) - 1} lines give "
                f"{table.num_rows} rows; write a quote inside a field as two, or take .tsv, where quotes are text"
            )
        table = _parsed(text, header, columns, path, chosen, quoted=False)
    elif broken:
        logger.warning(
            f"{path}: {len(broken)} of {table.num_rows} rows hold a line break inside a field, first row {broken[0]}."
        )
    return table


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


def _parsed(
    text: str, header: Sequence[str], columns: Sequence[str], path: Path, delimiter: str, *, quoted: bool
) -> pyarrow.Table:
    # numbered, so that a name may stand there twice; told what is text, arrow keeps 12, NA or null as it is
    names = [str(n) for n in range(len(header))]
    types = {str(n): pyarrow.string() for n, name in enumerate(header) if name in columns}
    try:
        table = pyarrow.csv.read_csv(
            io.BytesIO(text.encode("utf-8", "surrogatepass")),
            read_options=pyarrow.csv.ReadOptions(column_names=names, skip_rows_after_names=1),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=quoted, quote_char='"' if quoted else False
            ),
            convert_options=pyarrow.csv.ConvertOptions(column_types=types),
        )
    except (pyarrow.ArrowInvalid, pyarrow.ArrowKeyError, ValueError) as error:
        first = str(error).split("\n")[0]
        raise UserError(f"'{path}' is not a CSV file with a header line: {first}") from error
    kept = [n for n, name in enumerate(header) if header.index(name) == n]  # of a name that is not read, the first
    return table.select(kept).rename_columns([header[n] for n in kept])


def _line_breaks(table: pyarrow.Table) -> list[int]:
    """Return the rows in which a field of text holds a line break."""
    rows: set[int] = set()
    for column in table.columns:
        if pyarrow.types.is_string(column.type):
            rows |= {n for n, value in enumerate(column.to_pylist()) if value is not None and "\n" in value}
    return sorted(rows)


def _fits_unquoted(lines: Sequence[str], delimiter: str, count: int) -> bool:
    return all(line.count(delimiter) == count - 1 for line in lines if line.strip())
