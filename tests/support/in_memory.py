"""The workspace's data as a Python user holds them: datasets in memory, whose classes the features know."""

from __future__ import annotations

import csv

from datasets import ClassLabel, Dataset, Features, Value

CLAUSES = {"name": "clauses", "text": ["sentence"], "label": "label", "metrics": ["accuracy", "f1"]}
NAMES = ["plain", "relative"]


def in_memory(workspace) -> dict[str, Dataset]:
    """Return {split: Dataset} of the workspace's CSV files."""
    features = Features({"sentence": Value("string"), "label": ClassLabel(names=NAMES)})
    return {split: Dataset.from_list(_rows(workspace, split), features=features) for split in ("train", "validation")}


def _rows(workspace, split: str) -> list[dict]:
    with (workspace.folder / f"{split}.csv").open(encoding="utf-8") as stream:
        return [{"sentence": row["sentence"], "label": NAMES.index(row["label"])} for row in csv.DictReader(stream)]
