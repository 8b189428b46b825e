"""Texts behind URLs, read while they are used: nothing of them is kept on this machine.

The builders of `datasets` pass the encoding on to the file system, where s3fs takes it for an option of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import fsspec
from datasets import Features, IterableDataset, Value

from kdfeatures.data.files.find import TEXT_ENDINGS, ending_of
from kdfeatures.data.files.remote import readable
from kdfeatures.errors import UserError

LINES = (".jsonl", ".jsonl.gz")


def stream_of_urls(files: Sequence[str], column: str, encoding: str | None) -> IterableDataset:
    """Return a stream of the lines of .txt files, and of one column of JSON lines; each file is a shard of it.

    encoding: None is UTF-8. Raises UserError for files of another ending, and, when it is read, for a line without the
    column, for one that is no JSON, and for a URL that cannot be reached.
    """
    for file in files:
        if ending_of(file, (*TEXT_ENDINGS, *LINES)) is None:
            raise UserError(f"'{file}' cannot be streamed from a URL; write it as .txt, .jsonl or .parquet.")
    options = {"files": list(files), "column": column, "encoding": encoding}
    features = Features({column: Value("string")})
    return IterableDataset.from_generator(_rows, gen_kwargs=options, features=features)


def _rows(files: Sequence[str], column: str, encoding: str | None) -> Iterator[dict[str, str | None]]:
    for file in files:
        is_text = ending_of(file, TEXT_ENDINGS) is not None
        with readable(file, "data.path"), fsspec.open(file, "rt", encoding=encoding, compression="infer") as lines:
            for number, line in enumerate(lines, 1):
                if is_text:
                    yield {column: line.rstrip("\n")}
                elif line.strip():
                    yield {column: _value(line, column, f"line {number} of '{file}'")}


def _value(line: str, column: str, where: str) -> str | None:
    try:
        value = json.loads(line)[column]
    except (json.JSONDecodeError, TypeError) as error:
        raise UserError(f"{where} is no JSON object.") from error
    except KeyError as error:
        raise UserError(f"{where} has no '{column}'; name the column with task.text=[...].") from error
    if value is not None and not isinstance(value, str):
        raise UserError(f"{where}: '{column}' must hold text, but holds {json.dumps(value)[:40]}.")
    return value
