"""Encodings of people's files, of whole files and of those that are read a piece at a time."""

import gzip

import pytest

from kdfeatures.data.files import check_text, read_text, text
from kdfeatures.errors import UserError

TEXT = "one\nnaïve café\n"


@pytest.fixture(params=[None, 3, 8], ids=["whole", "by 3 bytes", "by 8 bytes"])
def decode(request, monkeypatch):
    """`read_text`, or its like for large files in pieces that cut characters in two."""
    if request.param is None:
        return read_text
    monkeypatch.setattr(text, "PIECE", request.param)

    def checked(path, encoding, option):
        chosen = check_text(path, encoding, option)
        content = path.read_bytes()
        return (gzip.decompress(content) if path.suffix == ".gz" else content).decode(chosen)

    return checked


@pytest.mark.parametrize(
    ("encoding", "named"),
    [
        ("utf-8", None), ("utf-8-sig", None), ("utf-8-sig", "utf-8"), ("utf-16", None), ("cp1252", "cp1252"),
        ("utf-16-le", "utf-16-le"), ("latin-1", "ISO-8859-1"),
    ],
)  # fmt: skip
def test_a_text_is_read_in_the_encoding_of_its_mark_or_the_one_that_is_named(tmp_path, decode, encoding, named):
    (tmp_path / "a.txt").write_bytes(TEXT.encode(encoding))
    assert decode(tmp_path / "a.txt", named, "o") == TEXT
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(TEXT.encode(encoding), mtime=0))
    assert decode(tmp_path / "a.txt.gz", named, "o") == TEXT


@pytest.mark.parametrize(
    ("content", "named", "told"),
    [
        (TEXT.encode("cp1252"), None, "is not utf-8 text: byte 0xef in line 2; it may be cp1252: task.encoding=cp1252"),
        (TEXT.encode("cp1252"), "ascii", "is not ascii text: byte 0xef in line 2"),
        (TEXT.encode("utf-16-le"), "ascii", "task.encoding=utf-16-le"),
        (b"a,b\n1,2\n".decode().encode("utf-16-le"), None,
         "holds bytes that are zero and no text, the first in line 1; it may be utf-16-le: task.encoding=utf-16-le"),
        (b"a,b\n1,2\n".decode().encode("utf-16-be"), None, "it may be utf-16-be: task.encoding=utf-16-be"),
        (b"text that goes on\n" * 3 + b"and \0 on\n", None, "the first in line 4; remove them"),
        (TEXT.encode(), "nope", "task.encoding=nope is no encoding that Python knows"),
        (TEXT.encode(), "base64", "task.encoding=base64 is no encoding"),
    ],
)  # fmt: skip
def test_what_is_no_text_is_named_by_its_line(tmp_path, decode, content, named, told):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(UserError) as caught:
        decode(tmp_path / "a.csv", named, "task.encoding")
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_utf8_that_is_named_otherwise_is_said(tmp_path, caplog):
    (tmp_path / "a.csv").write_bytes(TEXT.encode())
    read_text(tmp_path / "a.csv", "cp1252", "task.encoding")
    assert "is read as cp1252, as task.encoding says, but its bytes are valid UTF-8" in caplog.text
    caplog.clear()
    (tmp_path / "a.csv").write_bytes(TEXT.encode("cp1252"))
    read_text(tmp_path / "a.csv", "cp1252", "task.encoding")
    assert not caplog.text


def test_a_broken_archive_is_one_line(tmp_path, decode):
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(TEXT.encode(), mtime=0)[:-9])
    with pytest.raises(UserError, match="cannot be read"):
        decode(tmp_path / "a.csv.gz", None, "o")
