"""A model scored on a split, or its predictions written where labels are hidden."""

from __future__ import annotations

import csv
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kdfeatures.config.settings import EvaluateSettings
from kdfeatures.data.inputs import load_inputs
from kdfeatures.data.load import split_of
from kdfeatures.data.predictions_file import write_answers
from kdfeatures.data.stored_predictions import ids_of
from kdfeatures.data.subsets import is_labelled
from kdfeatures.models.limits import check_inputs
from kdfeatures.models.load import load_scored
from kdfeatures.models.tokenizers import load_tokenizer
from kdfeatures.pipelines.outputs import results_of
from kdfeatures.pipelines.scores import counts_of, predict_splits, scores_of
from kdfeatures.runs.folder import alone_in_output, begin_run, finished_results, open_output
from kdfeatures.runs.results import describe_model
from kdfeatures.runs.run_results import RunResults
from kdfeatures.tasks.registry import task_type

logger = logging.getLogger(__name__)


@alone_in_output
def run_evaluation(settings: EvaluateSettings, output_dir: Path) -> RunResults:
    """Score the model on the split; its logits are brought into the task's label order by name."""
    start, task = time.monotonic(), settings.task
    open_output(output_dir, settings.output.existing, settings.record)
    finished = finished_results(output_dir, settings.output.existing, settings.record)
    if finished is not None:
        return RunResults.from_dict(finished)
    model, columns = load_scored(settings.path, "model.path", task, force=settings.force, force_option="model.force")
    tokenizer = load_tokenizer(settings.path, "model.path")
    inputs = load_inputs(task, settings.data, tokenizer)
    splits = inputs.reported(settings.split)
    check_inputs(model, f"model.path={settings.path}", splits.values())
    logits = predict_splits(task, model, splits, tokenizer, columns, batch_size=settings.batch_size, title=task.name)
    begin_run(output_dir, settings.output.existing, settings.record)
    labelled = {n: split for n, split in splits.items() if not task.has_labels or is_labelled(split).all()}
    for name in splits.keys() - labelled.keys():
        file = output_dir / f"predictions_{name}.csv"
        _write(file, list(task_type(task).predictions(logits[name], splits[name], task)))
        logger.info(f"The labels of {task.name} {name} are hidden; predictions are in {file}.")
    if settings.outputs is not None:
        for name in splits:
            ids = ids_of(split_of(inputs.raw, task, name), None, name)
            write_answers(Path(settings.outputs) / f"{name}.parquet", ids, logits[name], task)
    student = describe_model(settings.path, model, scores_of(logits, labelled, task))
    results = results_of(
        "evaluate",
        settings.record,
        task,
        start,
        student=student,
        examples=counts_of(labelled, task),
        truncated=inputs.truncated,
    )
    results.write(output_dir)
    return results


def _write(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
