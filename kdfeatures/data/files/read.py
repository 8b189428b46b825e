"""Read files by their endings into one dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
from datasets import ClassLabel, Dataset, DatasetDict, Features, load_from_disk

from kdfeatures.checksums import hash_of
from kdfeatures.data.files.csv_tables import read_csv
from kdfeatures.data.files.find import FILE_ENDINGS, ending_of, expand, is_saved_dataset
from kdfeatures.data.files.records import read_records
from kdfeatures.data.files.text import read_text
from kdfeatures.errors import UserError, first_line


@dataclass(frozen=True)
class FileFormat:
    """delimiter, quotes: of CSV, None finds them. encoding: None is UTF-8 or what a byte order mark says."""

    delimiter: str | None = None
    encoding: str | None = None
    quotes: bool | None = None


@dataclass(frozen=True)
class Columns:
    """text: columns of CSV that are text whatever they look like: texts, labels, ids. needed: those that are read of
    JSON; None reads all."""

    text: Sequence[str]
    needed: Sequence[str] | None = None


def read_files(
    given: str | Sequence[str],
    folder: str | Path | None,
    columns: Columns,
    option: str,
    layout: FileFormat | None = None,
    split: str | None = None,
) -> Dataset:
    """Read what a user's value means, see `expand`; errors name it and the `option` it is from.

    split: of a saved DatasetDict the one that is read.
    """
    return read_parts(expand(given, folder, option), columns, option, layout, split)


def read_parts(
    paths: Sequence[Path], columns: Columns, option: str, layout: FileFormat | None = None, split: str | None = None
) -> Dataset:
    """Return the rows of several files, or folders of save_to_disk, as one dataset.

    Raises UserError for one that lacks a column that is read of others, and as `read_file` and `concatenated` do.
    """
    parts = {path: _saved(path, split, option) if path.is_dir() else read_file(path, columns, option, layout)
             for path in paths}  # fmt: skip
    for column in dict.fromkeys((*columns.text, *(columns.needed or ()))):
        having = [path for path, part in parts.items() if column in part.column_names]
        lacking = [path for path in parts if path not in having]
        if having and lacking:
            raise UserError(f"{option}: '{lacking[0]}' has no column '{column}', which '{having[0]}' has")
    return concatenated(list(parts.values()), option)


def read_file(path: Path, columns: Columns, option: str, layout: FileFormat | None = None) -> Dataset:
    """Read one file by its ending. Raises UserError for one that is missing, of another ending or broken."""
    layout = FileFormat() if layout is None else layout
    if not path.is_file():
        raise UserError(f"'{path}' is not a file; check {option}")
    ending = ending_of(path)
    if ending is None:
        raise UserError(f"'{path}' must end in {', '.join(FILE_ENDINGS)}; check {option}")
    if ending == ".parquet":
        return read_parquet(path, columns)
    text = read_text(path, layout.encoding, "task.encoding")
    # or `datasets` names the table by pickling all of it and its columns one by one
    name = hash_of(repr((ending, columns, layout)), text)
    if ending.startswith((".csv", ".tsv")):
        table = read_csv(path, text, columns.text, delimiter=layout.delimiter, quotes=layout.quotes)
        return Dataset(table, fingerprint=name)
    return Dataset(read_records(path, text, columns.needed), fingerprint=name)


def read_parquet(path: Path, columns: Columns) -> Dataset:
    """Read a parquet file, without columns that are not read and of a type `datasets` has not, such as maps.

    Raises UserError for a broken one, and for a column that is read and stands there twice.
    """
    try:
        table = pyarrow.parquet.ParquetFile(path).read()
        return Dataset(plain_types(table.select(_readable(table.schema, columns, path))))
    except UserError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, TypeError) as error:
        raise UserError(f"'{path}' is not a parquet file: {first_line(error)}") from error


def _readable(schema: pyarrow.Schema, columns: Columns, path: Path) -> list[int]:
    wanted = {*columns.text, *(columns.needed or ())}
    kept: dict[str, int] = {}
    for n, field in enumerate(schema):
        if field.name in kept and field.name in wanted:
            raise UserError(f"'{path}' has the column '{field.name}' twice; rename one")
        try:
            Features.from_arrow_schema(pyarrow.schema([field.with_type(_plain(field.type))]))
        except (ValueError, TypeError):
            if field.name in wanted:
                raise UserError(f"'{path}': column '{field.name}' holds {field.type}, which no task reads") from None
            continue
        kept.setdefault(field.name, n)
    return list(kept.values())


def plain_types(table: pyarrow.Table) -> pyarrow.Table:
    """Return a table whose lists and strings are of the usual width; polars writes wide ones."""
    fields = [field.with_type(_plain(field.type)) for field in table.schema]
    if [field.type for field in fields] == table.schema.types:
        return table
    return table.cast(pyarrow.schema(fields))  # without metadata, which name the wide types


def _plain(kind: pyarrow.DataType) -> pyarrow.DataType:
    types = pyarrow.types
    if types.is_large_string(kind) or types.is_string_view(kind):
        return pyarrow.string()
    if types.is_dictionary(kind):
        return _plain(kind.value_type)
    if types.is_large_list(kind) or types.is_list(kind):
        return pyarrow.list_(_plain(kind.value_type))
    return kind


def concatenated(parts: Sequence[Dataset], option: str) -> Dataset:
    """Return several files' rows as one dataset: columns of other widths take the wider, class names hold for all.

    Raises UserError for class names that differ and types that do not go together.
    """
    if len(parts) == 1:
        return parts[0]
    names: dict[str, ClassLabel] = {}
    for part in parts:
        for column, feature in part.features.items():
            if isinstance(feature, ClassLabel) and names.setdefault(column, feature).names != feature.names:
                raise UserError(
                    f"{option}: the files have other class names in '{column}': {', '.join(names[column].names)} and "
                    f"{', '.join(feature.names)}; make them equal"
                )
    tables = [plain_types(part.with_format("arrow")[:]).replace_schema_metadata(None) for part in parts]
    try:
        whole = Dataset(pyarrow.concat_tables(tables, promote_options="permissive"))
        for column, feature in names.items():
            whole = whole.cast_column(column, feature)
    except (pyarrow.ArrowException, ValueError, TypeError) as error:
        raise UserError(f"{option}: the files do not go together: {first_line(error)}") from error
    return whole


def _saved(folder: Path, split: str | None, option: str) -> Dataset:
    loaded: Any = load_saved(folder, option)
    if isinstance(loaded, DatasetDict):
        if split not in loaded:
            raise UserError(f"'{folder}' holds the splits {', '.join(loaded)}, but not '{split}'; check {option}")
        loaded = loaded[split]
    return Dataset(plain_types(loaded.with_format("arrow")[:]))


def load_saved(folder: Path, option: str) -> Dataset | DatasetDict:
    """Load what save_to_disk wrote; raises UserError for a broken folder."""
    assert is_saved_dataset(folder)
    try:
        return load_from_disk(str(folder))
    except Exception as error:  # whatever a damaged folder makes the library stumble over
        raise UserError(
            f"'{folder}' was not written whole by save_to_disk: {first_line(error)}; check {option}"
        ) from error
