"""Text of a file, compressed or not, in the encoding it is in."""

from __future__ import annotations

import codecs
import gzip
import logging
import zlib
from pathlib import Path

from kdfeatures.errors import UserError

logger = logging.getLogger(__name__)

BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
SINGLE_BYTE = "cp1252"  # what Western Windows writes, Latin-1 but for a few signs


def read_text(path: Path, encoding: str | None, option: str) -> str:
    """Return a file's text; .gz is unpacked. encoding: None is UTF-8, or what a byte order mark says.

    option: how the user may name the encoding, such as "task.encoding". Raises UserError for a file that cannot be
    read, an unknown encoding, and bytes that are no text in it, with their place and what they may be.
    """
    try:
        content = path.read_bytes()
        if path.suffix.lower() == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"'{path}' cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    marked = next((name for mark, name in BOMS.items() if content.startswith(mark)), None)
    if encoding is None and marked == "utf-16":
        logger.info(f"{path} is read as UTF-16, as its first bytes say.")
    chosen = marked or "utf-8" if encoding is None else encoding
    try:
        return content.decode(chosen)
    except LookupError as error:
        raise UserError(
            f"{option}={encoding} is no encoding that Python knows; such are utf-8, cp1252, utf-16."
        ) from error
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        is_wide = content[:200].count(0) > len(content[:200]) // 4
        guess = "utf-16-le" if is_wide else SINGLE_BYTE
        raise UserError(
            f"'{path}' is not {chosen} text: byte {content[error.start]:#04x} in line {line}; it may be {guess}: "
            f"{option}={guess}."
        ) from error
