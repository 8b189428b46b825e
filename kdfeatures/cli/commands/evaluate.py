"""kdfeatures evaluate: score a fine-tuned model on a split, or write its predictions where labels are hidden."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kdfeatures.config.schema import DataConfig, EvaluatedConfig, section
from kdfeatures.data.load import split_of
from kdfeatures.data.predictions_file import write_answers
from kdfeatures.data.stored_predictions import ids_of
from kdfeatures.data.subsets import is_labelled
from kdfeatures.errors import UserError
from kdfeatures.models.load import load_scored, load_tokenizer
from kdfeatures.models.max_length import check_positions
from kdfeatures.pipelines.inputs import counts_of, load_inputs, logits_of, scores_of
from kdfeatures.pipelines.outputs import results_of
from kdfeatures.runs.folder import finished_results, open_output
from kdfeatures.runs.results import describe_model, write_results
from kdfeatures.tasks.registry import task_type
from kdfeatures.tasks.task import Task


def run(cfg: DictConfig, output_dir: Path) -> dict[str, Any]:
    """Score `model` on `split`; its logits are brought into the task's label order by name."""
    start = time.monotonic()
    task, data = Task.from_config(OmegaConf.to_container(cfg.task)), section(cfg, "data", DataConfig)
    evaluated = section(cfg, "model", EvaluatedConfig)
    open_output(output_dir, cfg.existing)
    done = finished_results(output_dir, cfg)
    if done is not None:
        return done
    if evaluated.path is None:
        raise UserError("nothing to evaluate: give model.path=FOLDER_OR_HUB_ID.")
    model, columns = load_scored(evaluated.path, "model.path", task, force=evaluated.force, force_option="model.force")
    tokenizer = load_tokenizer(evaluated.path, "model.path")
    inputs = load_inputs(task, data, tokenizer)
    splits = inputs.reported(cfg.split)
    check_positions(model, f"model.path={evaluated.path}", splits.values())
    logits = logits_of(task, model, splits, tokenizer, columns, batch_size=evaluated.batch_size, title=task.name)
    labelled = {n: split for n, split in splits.items() if not task.has_labels or is_labelled(split).all()}
    for name in splits.keys() - labelled.keys():
        file = output_dir / f"predictions_{name}.csv"
        _write(file, list(task_type(task).predictions(logits[name], splits[name], task)))
        print(f"The labels of {task.name} {name} are hidden; predictions are in {file}.")
    if cfg.outputs is not None:
        for name in splits:
            ids = ids_of(split_of(inputs.raw, task, name), None, name)
            write_answers(Path(cfg.outputs) / f"{name}.parquet", ids, logits[name])
    student = describe_model(evaluated.path, model, scores_of(logits, labelled, task))
    results = results_of("evaluate", cfg, task, start, student=student, examples=counts_of(labelled))
    write_results(output_dir, results)
    return results


def _write(file: Path, rows: list[dict[str, Any]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
