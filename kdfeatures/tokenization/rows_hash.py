"""What a split holds, as a hash: its rows in their order, its columns and their types."""

from __future__ import annotations

import pyarrow
from datasets import Dataset

from kdfeatures.checksums import hash_of

ROWS = 10_000  # hashed at a time


def rows_hash(examples: Dataset) -> str:
    """Return a hash of the rows and features, whatever tables they lie in and however they were made."""
    parts = [repr(examples.features)]
    for table in examples.with_format("arrow").iter(ROWS):
        table = table.replace_schema_metadata(None)  # which names how it was made
        sink = pyarrow.BufferOutputStream()
        with pyarrow.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table.combine_chunks())
        parts.append(hash_of(sink.getvalue().to_pybytes()))
    return hash_of(*parts)
