"""What a finetune, distill or evaluate run found: typed, and written to and read from its results.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from kdfeatures.runs.results import read_results, run_table, write_results

Metrics = Mapping[str, Mapping[str, float]]  # {split: {metric: fraction}}


@dataclass(frozen=True)
class ModelResults:
    """One model of a run: where it lies, its sizes, None for stored outputs, and {split: {metric: fraction}}."""

    path: str
    model_type: str
    layers: int | None
    hidden_size: int | None
    heads: int | None
    parameters: int | None
    metrics: Metrics


@dataclass(frozen=True)
class RunResults:
    """The results of a run as kdfeatures.runs.results describes them, key by key.

    `print(results)` shows the table that the commands print. results.json is read with `RunResults.read(folder)`; what
    an older version did not write has the value that the run then had, or None.
    """

    command: str
    task: str
    seed: int
    split: str
    metric: str | None
    student: ModelResults
    config: Mapping[str, Any]
    recipe: str | None = None
    mapping: Sequence[Sequence[int]] | None = None
    maps: Mapping[str, Any] = field(default_factory=dict)
    heads: Mapping[str, Any] = field(default_factory=dict)
    teacher: ModelResults | None = None
    retained: float | None = None
    train_examples: int | None = None
    labelled_examples: int | None = None
    pool_examples: int = 0
    augmented_examples: int = 0
    examples: Mapping[str, int] = field(default_factory=dict)
    truncated: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    copied_layers: Sequence[int] | None = None
    vocabulary: Mapping[str, int] | None = None
    losses: Mapping[str, float | None] = field(default_factory=dict)
    padding: float | None = None
    report: Mapping[str, Any] | None = None
    processes: int = 1
    seconds: Mapping[str, float | None] = field(default_factory=dict)
    base_models: Sequence[str] = ()
    hub: Sequence[str] = ()
    commits: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    device: str | None = None
    teachers: Sequence[Mapping[str, Any]] | None = None
    ensemble: Metrics | None = None
    stages: Sequence[Mapping[str, Any]] | None = None

    @property
    def score(self) -> float | None:
        """The student's main metric on the split that is reported; None where nothing is scored."""
        return None if self.metric is None else self.student.metrics.get(self.split, {}).get(self.metric)

    def __str__(self) -> str:
        return run_table([self.as_dict()])

    def as_dict(self) -> dict[str, Any]:
        """Return what results.json holds; keys that only some runs have are left out where they are None."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        plain = {name: asdict(value) if isinstance(value, ModelResults) else value for name, value in values.items()}
        return {name: value for name, value in plain.items() if value is not None or name not in OF_SOME_RUNS}

    @classmethod
    def from_dict(cls, results: Mapping[str, Any]) -> RunResults:
        """Return the results of a file's content; keys that this version does not know are left out."""
        known = {key.name for key in fields(cls)}
        values = {name: value for name, value in results.items() if name in known}
        for model in ("student", "teacher"):
            if values.get(model) is not None:
                values[model] = ModelResults(**{key.name: values[model].get(key.name) for key in fields(ModelResults)})
        return cls(**values)

    def write(self, folder: Path) -> None:
        """Write results.json, whole or not at all."""
        write_results(folder, self.as_dict())

    @classmethod
    def read(cls, folder: str | Path) -> RunResults:
        """Read the results.json of a run of finetune, distill or evaluate."""
        return cls.from_dict(read_results(Path(folder)))


OF_SOME_RUNS = ("teachers", "ensemble", "stages")
