"""Text of a file, compressed or not, in the encoding it is in."""

from __future__ import annotations

import codecs
import gzip
import logging
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from kdfeatures.errors import UserError

logger = logging.getLogger(__name__)

BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
UTF8 = ("utf-8", "utf-8-sig")
PIECE = 2**22  # bytes
SINGLE_BYTE = "cp1252"  # what Western Windows writes, Latin-1 but for a few signs


def read_text(path: Path, encoding: str | None, option: str) -> str:
    """Return a file's text; .gz is unpacked. encoding: None is UTF-8, or what a byte order mark says.

    option: how the user may name the encoding, such as "task.encoding". Raises UserError for a file that cannot be
    read, an unknown encoding, and bytes that are no text in it, with their place and what they may be.
    """
    with _opened(path) as file:
        content = file.read()
    chosen = _chosen(content[:4], encoding, path, option)
    try:
        text = content.decode(chosen)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise _no_text(path, chosen, content[error.start], line, content, option) from error
    _check_nul(text, content, path, option)
    if encoding is not None and codecs.lookup(chosen).name not in UTF8 and _is_utf8(content):
        logger.warning(f"{path} is read as {encoding}, as {option} says, but its bytes are valid UTF-8.")
    return text


def check_text(path: Path, encoding: str | None, option: str) -> str:
    """Read a file as `read_text` does, but a piece at a time, and return its encoding; for those larger than memory."""
    line = 1
    with _opened(path) as file:
        start = file.read(PIECE)
        chosen = _chosen(start[:4], encoding, path, option)
        decoder = codecs.getincrementaldecoder(chosen)()
        piece = start
        while True:
            try:
                text = decoder.decode(piece, final=not piece)
            except UnicodeDecodeError as error:
                line += error.object[: error.start].count(b"\n")
                raise _no_text(path, chosen, error.object[error.start], line, start, option) from error
            _check_nul(text, start, path, option, line)
            line += text.count("\n")
            if not piece:
                return chosen
            piece = file.read(PIECE)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            yield file  # type: ignore[misc]  # a GzipFile is read alike
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"'{path}' cannot be read: {getattr(error, 'strerror', None) or error}.") from error


def _chosen(start: bytes, encoding: str | None, path: Path, option: str) -> str:
    """Return the encoding of a file that begins with these bytes."""
    marked = next((name for mark, name in BOMS.items() if start.startswith(mark)), None)
    if encoding is None:
        if marked == "utf-16":
            logger.info(f"{path} is read as UTF-16, as its first bytes say.")
        return marked or "utf-8"
    try:
        is_utf8 = codecs.lookup(encoding).name in UTF8
        "".encode(encoding)  # base64 and its like turn bytes into bytes
    except LookupError as error:
        raise UserError(
            f"{option}={encoding} is no encoding that Python knows; such are utf-8, cp1252, utf-16."
        ) from error
    return marked if is_utf8 and marked else encoding


def _no_text(path: Path, encoding: str, byte: int, line: int, start: bytes, option: str) -> UserError:
    guess = _wide(start) or SINGLE_BYTE
    return UserError(
        f"'{path}' is not {encoding} text: byte {byte:#04x} in line {line}; it may be {guess}: {option}={guess}."
    )


def _check_nul(text: str, content: bytes, path: Path, option: str, first: int = 1) -> None:
    position = text.find("\0")
    if position < 0:
        return
    line = first + text.count("\n", 0, position)
    guess = _wide(content)
    hint = f"it may be {guess}: {option}={guess}" if guess else "remove them"
    raise UserError(f"'{path}' holds bytes that are zero and no text, the first in line {line}; {hint}.")


def _wide(content: bytes) -> str | None:
    """Return which UTF-16 bytes without a mark may be, where a quarter of the first is zero."""
    start = content[:200]
    if start.count(0) <= len(start) // 4:
        return None
    return "utf-16-be" if start[::2].count(0) > start[1::2].count(0) else "utf-16-le"


def _is_utf8(content: bytes) -> bool:
    try:
        return not content.decode().isascii()
    except UnicodeDecodeError:
        return False
