"""Find everything in a zip that the GLUE server would refuse, or score as something else than was meant."""

from __future__ import annotations

import lzma
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from kdfeatures.benchmark.submission.files import FILES, HEADER, HIGHEST, LOWEST, SubmissionFile
from kdfeatures.errors import UserError, nearest

LARGEST = 16 * 2**20  # bytes of one file; the longest, QQP, has under 4 MiB
DECIMAL = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
UNREADABLE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, RuntimeError, EOFError, OSError)


class Checked(NamedTuple):
    """What is in a zip. rows: by the name of a file, None where it cannot be read; problems: by name, "" of the zip."""

    rows: dict[str, int | None]
    problems: dict[str, list[str]]


def check_submission(file: Path) -> list[str]:
    """Return every problem of a zip, a line each; none when the server takes it.

    Equal problems of a file's rows are one line that counts them and shows the first. Raises UserError when there is no
    such file.
    """
    return told(checked(file))


def told(found: Checked) -> list[str]:
    """Return the problems that were found, a line each, with the name of the file."""
    return [
        f"{name}.tsv: {problem}" if name else problem
        for name, problems in found.problems.items()
        for problem in problems
    ]


def checked(file: Path) -> Checked:
    """Return the same for each of the 11 files."""
    if not file.is_file():
        raise UserError(f"{file} is no file; name the zip to check.")
    rows: dict[str, int | None] = {part.name: None for part in FILES}
    problems: dict[str, list[str]] = {"": [], **{part.name: [] for part in FILES}}
    try:
        with zipfile.ZipFile(file) as opened:
            entries = opened.infolist()
            problems[""] += _name_problems([entry.filename for entry in entries])
            for part in FILES:
                matches = [entry for entry in entries if PurePosixPath(entry.filename).name == part.member]
                rows[part.name], problems[part.name] = _file(opened, matches, part)
    except UNREADABLE as error:
        problems[""].append(f"{file} is not a zip file: {error}")
    return Checked(rows, {name: lines for name, lines in problems.items() if lines})


def row_problems(file: SubmissionFile, lines: Sequence[str]) -> list[str]:
    """Return what is wrong with the lines below the header, but for their number."""
    shapeless, misplaced, strange = [], [], []
    for row, line in enumerate(lines):
        index, tab, answer = line.partition("\t")
        if not tab or "\t" in answer:
            shapeless.append(row)
            continue
        if index != str(row):
            misplaced.append(row)
        if not _accepts(file, answer):
            strange.append(row)
    accepted = f"one of {', '.join(file.answers)}" if file.answers else f"a number from {LOWEST:g} to {HIGHEST:g}"
    return [
        *_row_problem(shapeless, "is not an index, a tab and a prediction", lambda row: repr(lines[row][:40])),
        *_row_problem(misplaced, "has an index out of place", lambda row: f"{_part(lines[row], 0)} instead of {row}"),
        *_row_problem(strange, f"answers something else than {accepted}", lambda row: _part(lines[row], 1)),
    ]


def _name_problems(names: list[str]) -> list[str]:
    known = [part.member for part in FILES]
    problems = []
    for name in dict.fromkeys(names):
        inner = PurePosixPath(name)
        if name.endswith("/"):
            problems.append(f"'{name}' is a folder; zip the files without one")
        elif inner.name not in known:
            problems.append(f"'{name}' is no file of a submission{nearest(inner.name, known)}")
    return problems


def _file(
    opened: zipfile.ZipFile, entries: list[zipfile.ZipInfo], file: SubmissionFile
) -> tuple[int | None, list[str]]:
    if not entries:
        return None, ["is missing"]
    entry = min(entries, key=lambda entry: entry.filename != file.member)
    problems = [f"is there {len(entries)} times"] if len(entries) > 1 else []
    if entry.filename != file.member:
        problems.append(f"lies in a folder, '{entry.filename}'; zip the files without it")
    if stat.S_ISLNK(entry.external_attr >> 16):
        return None, [*problems, "is a symbolic link, not a file"]
    if entry.file_size > LARGEST:
        return None, [*problems, f"has {entry.file_size} bytes, which no answers to {file.rows} examples have"]
    try:
        content = opened.read(entry)
    except UNREADABLE as error:
        return None, [*problems, f"cannot be read: {error}"]
    rows, content_problems = _content(content, file)
    return rows, problems + content_problems


def _content(content: bytes, file: SubmissionFile) -> tuple[int | None, list[str]]:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        return None, [f"is not UTF-8: byte {content[error.start]:#04x} at {error.start}"]
    breaks = text.count("\n") + text.count("\r")
    if breaks > 4 * (file.rows + 1):  # before each takes the memory of a string
        return None, [f"has {breaks} line ends, which no answers to {file.rows} examples have"]
    problems = []
    if text.startswith("\ufeff"):
        problems.append("begins with a byte order mark")
    if "\r" in text:
        problems.append("has the line ends of Windows (CRLF) or old Macs (CR), not LF")
    lines = re.split(r"\r\n|\r|\n", text.removeprefix("\ufeff"))
    if lines[-1] == "":
        lines.pop()
    header = lines[0] if lines else ""
    if header != HEADER:
        problems.append(f"begins with {header[:40]!r}, not with the header {HEADER!r}")
    # without a header the first line is an answer already
    below = lines if header.split("\t")[0] == "0" else lines[1:]
    if len(below) != file.rows:
        problems.append(f"has {len(below)} rows, not {file.rows}")
    return len(below), problems + row_problems(file, below)


def _accepts(file: SubmissionFile, answer: str) -> bool:
    if file.answers:
        return answer in file.answers
    return DECIMAL.fullmatch(answer) is not None and LOWEST <= float(answer) <= HIGHEST


def _part(line: str, which: int) -> str:
    return repr(line.split("\t")[which][:40])


def _row_problem(rows: Sequence[int], what: str, describe: Callable[[int], str]) -> list[str]:
    if not rows:
        return []
    return [f"row {rows[0]} {what}: {describe(rows[0])}{f' ({len(rows)} rows do)' if len(rows) > 1 else ''}"]
