import pytest
from datasets import ClassLabel, Dataset, Features, Value, concatenate_datasets

from kdfeatures.tokenization.rows_hash import rows_hash

ROWS = {"text": ["a", "b", "c"], "label": [0, 1, 0]}
MADE = Dataset.from_dict(ROWS)


@pytest.mark.parametrize(
    "same",
    [
        Dataset.from_dict(ROWS),
        MADE.map(lambda row: row, new_fingerprint="1234"),
        MADE.map(lambda row: row, new_fingerprint="5678", load_from_cache_file=False),
        Dataset.from_dict({name: values[::-1] for name, values in ROWS.items()}).select([2, 1, 0]),
        concatenate_datasets([MADE.select([0]), MADE.select([1, 2])]),
    ],
    ids=["made again", "mapped", "mapped under another name", "selected", "of two tables"],
)
def test_what_holds_the_same_rows_has_the_same_hash(same):
    assert rows_hash(same) == rows_hash(MADE)


def test_rows_of_many_tables_count_as_those_of_one():
    rows = {"number": list(range(25_000))}
    parts = [Dataset.from_dict({"number": rows["number"][at : at + 7_000]}) for at in range(0, 25_000, 7_000)]
    assert rows_hash(concatenate_datasets(parts)) == rows_hash(Dataset.from_dict(rows))


@pytest.mark.parametrize(
    "other",
    [
        MADE.select([0, 1]),
        MADE.select([0, 2, 1]),
        Dataset.from_dict({**ROWS, "label": [0, 1, 1]}),
        MADE.rename_column("label", "class"),
        MADE.cast(Features({"text": Value("string"), "label": Value("int32")})),
        MADE.cast(Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"])})),
    ],
    ids=["fewer", "in another order", "a value", "a name", "a type", "classes"],
)
def test_whatever_differs_gives_another_hash(other):
    assert rows_hash(other) != rows_hash(MADE)


def test_classes_by_other_names_are_others():
    one, other = (
        MADE.cast(Features({"text": Value("string"), "label": ClassLabel(names=names)}))
        for names in (["no", "yes"], ["yes", "no"])
    )
    assert rows_hash(one) != rows_hash(other)
