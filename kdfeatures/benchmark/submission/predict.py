"""Answer GLUE's test splits with models fine-tuned on its tasks, and write the zip that the server takes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from datasets import DatasetDict

from kdfeatures.benchmark.submission.files import FILES, SubmissionFile, check_rows
from kdfeatures.benchmark.submission.write import answers, check_target, from_sample, write_submission
from kdfeatures.config.paths import conf_dir
from kdfeatures.data.inputs import TaskData
from kdfeatures.data.load import load_task, split_of
from kdfeatures.data.settings import DataSettings
from kdfeatures.errors import MissingSplit, UserError, nearest
from kdfeatures.models.configs import load_config
from kdfeatures.models.limits import check_inputs
from kdfeatures.models.load import load_scored
from kdfeatures.models.tokenizers import load_tokenizer
from kdfeatures.pipelines.scores import predict_splits
from kdfeatures.runs.results import markdown
from kdfeatures.tasks.task import Task


def predict_submission(
    models: Mapping[str, str | Path],
    data: DataSettings,
    file: Path,
    *,
    batch_size: int,
    lengths: Mapping[str, int] | None = None,
    sample: Path | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write the zip of what `models` answer, and return what is in it.

    models: folder or Hub id by task (cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte, wnli); that for mnli answers the
    diagnostic set too. data: its path and max_length count; lengths: other lengths than that, by task. sample,
    overwrite: see write_submission, which also says how files are filled that no model answers, or whose test split
    the data lack.

    Returns {file, sample, predicted: {name: {rows, model}}, filled: {name: why}}; submission_text tells it. Raises
    UserError before anything is predicted for an unknown task, a model that is not there, a `file` that exists and a
    test split that is not whole.
    """
    trained = list(dict.fromkeys(part.trained_on for part in FILES))
    paths = {task: str(path) for task, path in models.items()}
    for task, path in paths.items():
        if task not in trained:
            raise UserError(
                f"no model for '{task}' is asked for{nearest(task, trained)}: GLUE has {', '.join(trained)}."
            )
        load_config(path, f"the model for {task}")
    check_target(file, overwrite=overwrite)
    filled = {part.name: f"no model for {part.trained_on}" for part in FILES if part.trained_on not in paths}
    if sample is not None:
        from_sample(sample, filled)
    raw, missing = test_splits(paths, data)
    answered: dict[str, list[str]] = {}
    for task, path in paths.items():
        splits = {part: split for part, split in raw.items() if part.trained_on == task}
        if splits:
            length = (lengths or {}).get(task, data.max_length)
            answered |= _predicted(path, f"the model for {task}", splits, length, batch_size)
    filled |= missing
    write_submission(file, answered, sample=sample, overwrite=overwrite)
    return {
        "file": str(file),
        "sample": None if sample is None else str(sample),
        "predicted": {part.name: {"rows": part.rows, "model": paths[part.trained_on]} for part in raw},
        "filled": {part.name: filled[part.name] for part in FILES if part.name in filled},
    }


def test_splits(
    tasks: Collection[str], data: DataSettings
) -> tuple[dict[SubmissionFile, tuple[Task, DatasetDict]], dict[str, str]]:
    """Return what the files of these tasks are answered from, and why others cannot be, by name.

    Raises UserError for a test split that is not whole.
    """
    raw, missing = {}, {}
    for part in FILES:
        if part.trained_on in tasks:
            try:
                raw[part] = _split(part, data)
            except MissingSplit:
                missing[part.name] = f"the data have no {part.split} split of {part.task}"
    return raw, missing


def submission_text(found: Mapping[str, Any]) -> str:
    """Return what predict_submission did: a line for each file, and how those that no model answers were filled."""
    lines = []
    for part in FILES:
        of_model = found["predicted"].get(part.name)
        by = f"filled: {found['filled'][part.name]}" if of_model is None else of_model["model"]
        lines.append({"file": part.member, "rows": str(part.rows), "answered by": by})
    text = f"{markdown(lines)}\n\nThe submission is {found['file']}."
    if not found["filled"]:
        return text
    how = f"with those of {found['sample']}"
    if found["sample"] is None:
        how = "with the first class for every example (STS-B: 0 and 5 in turn), which means nothing"
    return f"{text} Filled {how}: {', '.join(found['filled'])}."


def _split(file: SubmissionFile, data: DataSettings) -> tuple[Task, DatasetDict]:
    """Return a file's task, with no other split than the one it answers, and the raw data in the server's order."""
    config = yaml.safe_load((conf_dir() / "task" / f"{file.task}.yaml").read_text(encoding="utf-8"))
    task = Task.from_config(config)
    task = replace(task, splits={file.split: task.splits[file.split]})
    raw = load_task(task, data.path, revision=data.revision)
    examples = split_of(raw, task, file.split)
    check_rows(file, len(examples))
    if "idx" in examples.column_names:
        order = np.argsort(examples["idx"][:], kind="stable")
        if (np.asarray(examples["idx"][:])[order] != np.arange(len(order))).any():
            raise UserError(
                f"the column idx of {file.task} {file.split} does not number its rows from 0; fetch it again."
            )
        raw[task.splits[file.split]] = examples.select(order)
    return task, raw


def _predicted(
    path: str,
    whose: str,
    splits: Mapping[SubmissionFile, tuple[Task, DatasetDict]],
    max_length: int,
    batch_size: int,
) -> dict[str, list[str]]:
    """Return the answers of one model, by the name of the file."""
    tokenizer = load_tokenizer(path, whose)
    # MNLI and the diagnostic set have the same labels
    model, columns = load_scored(path, whose, next(iter(splits.values()))[0], force=False, force_option=None)
    answers_by_file = {}
    for file, (task, raw) in splits.items():
        encoded = {file.split: TaskData(task, raw, tokenizer, max_length).split(file.split)}
        check_inputs(model, whose, encoded.values())
        logits = predict_splits(task, model, encoded, tokenizer, columns, batch_size=batch_size, title=file.name)
        answers_by_file[file.name] = answers(task, file.split, logits[file.split])
    return answers_by_file
