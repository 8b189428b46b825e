"""A model as ONNX and as int8, scored and timed beside the torch model."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from kdfeatures.config.settings import ExportSettings
from kdfeatures.data.inputs import load_inputs
from kdfeatures.data.subsets import is_labelled
from kdfeatures.errors import UserError
from kdfeatures.evaluation.bootstrap import seeds_bootstrap
from kdfeatures.evaluation.predict import Predictor
from kdfeatures.evaluation.timing import Spread
from kdfeatures.models.costs import BATCH, Speed, latency_and_throughput
from kdfeatures.models.export import OnnxClassifier, export_onnx, quantise
from kdfeatures.models.export.onnx import weight_bytes
from kdfeatures.models.export.requirements import require_packages
from kdfeatures.models.limits import check_inputs
from kdfeatures.models.load import load_scored
from kdfeatures.models.tokenizers import load_tokenizer
from kdfeatures.pipelines.scores import counts_of, predict_splits, scores_of
from kdfeatures.runs.environment import cpu_name, versions
from kdfeatures.runs.folder import alone_in_output, begin_run, finished_results, open_output
from kdfeatures.runs.results import markdown, write_results
from kdfeatures.tasks.registry import task_type

logger = logging.getLogger(__name__)


@alone_in_output
def export(settings: ExportSettings, output_dir: Path) -> dict[str, Any]:
    """Write both files, table.md and results.json; every format answers every example of the split, on the CPU.

    Of MNLI that is both parts; speeds are those of the first.
    """
    require_packages()
    task = settings.task
    open_output(output_dir, settings.output.existing, settings.record)
    finished = finished_results(output_dir, settings.output.existing, settings.record)
    if finished is not None:
        return finished
    model, columns = load_scored(settings.path, "model.path", task, force=settings.force, force_option="model.force")
    model.cpu().eval()
    tokenizer = load_tokenizer(settings.path, "model.path")
    splits = load_inputs(task, settings.data, tokenizer).reported(settings.split)
    if not all(is_labelled(split).all() for split in splits.values()):
        raise UserError(
            f"the labels of {task.name} {settings.split} are hidden, so nothing can be scored; try split=validation."
        )
    check_inputs(model, f"model.path={settings.path}", list(splits.values()))

    begin_run(output_dir, settings.output.existing, settings.record)
    logger.info("Exporting ...")
    exported = export_onnx(model, tokenizer, output_dir)
    quantised = quantise(exported)
    files = {"onnx": exported, "int8": quantised}
    formats: dict[str, Predictor] = {"torch": model, **{name: OnnxClassifier(file) for name, file in files.items()}}
    sizes = {"torch": weight_bytes(model)} | {name: file.stat().st_size for name, file in files.items()}
    logits = {
        name: predict_splits(task, form, splits, tokenizer, columns, batch_size=settings.batch_size, title=task.name)
        for name, form in formats.items()
    }
    speeds = latency_and_throughput(formats, splits[settings.split], tokenizer)
    by_format = {
        name: {
            "metrics": scores_of(logits[name], splits, task),
            "difference": {
                part: _difference(settings, logits[name][part], logits["torch"][part], split)
                for part, split in splits.items()
            },
            "bytes": sizes[name],
            **asdict(speeds[name]),
        }
        for name in formats
    }
    results = {
        "command": "export",
        "task": task.name,
        "split": settings.split,
        "metric": task.main_metric,
        "path": settings.path,
        "examples": counts_of(splits, task),
        "formats": by_format,
        "versions": versions(),
        "device": cpu_name(),
        "config": settings.record,
    }
    text = f"{_table(results, speeds)}\n\n{_caption(results, speeds['torch'])}\n"
    (output_dir / "table.md").write_text(text, encoding="utf-8")
    write_results(output_dir, results)
    logger.info(f"\n{text}\nSaved in {output_dir}")
    return results


def _difference(
    settings: ExportSettings, exported: np.ndarray, reference: np.ndarray, split: Dataset
) -> tuple[float, float, float] | None:
    """Return how far the main metric is from torch's, with its interval; None where examples are not drawn anew."""
    task = settings.task
    main_score = task_type(task).main_score(task)
    if main_score is None:
        return None
    # as runs of one seed
    answers, reference_answers = (task.predictions_from_logits(logits)[None] for logits in (exported, reference))
    labels = task_type(task).labels(split)
    return seeds_bootstrap(
        main_score, answers, reference_answers, labels, resamples=settings.resamples, seed=settings.seed
    )


def _table(results: dict[str, Any], speeds: dict[str, Speed]) -> str:
    rows = []
    for name, exported in results["formats"].items():
        is_torch, speed, row = name == "torch", speeds[name], {"format": name}
        for part, metrics in exported["metrics"].items():
            of = "" if part == results["split"] else f", {part}"
            row[f"{results['metric']}{of}"] = f"{100 * metrics[results['metric']]:.1f}"
            if exported["difference"][part] is not None:
                difference, low, high = (100 * value for value in exported["difference"][part])
                interval = "" if is_torch else f"{difference:+.1f} [{low:+.1f}, {high:+.1f}]"
                row[f"difference [95% interval]{of}"] = interval
        row["size"] = f"{exported['bytes'] / 1e6:.1f} MB"
        row["latency, batch 1"] = "1.0x" if is_torch else _times(speed.latency_ratio)
        row[f"throughput, batch {BATCH}"] = "1.0x" if is_torch else _times(speed.throughput_ratio)
        rows.append(row)
    return markdown(rows)


def _times(ratio: Spread) -> str:
    return f"{ratio.median:.2f}x [{ratio.low:.2f}, {ratio.high:.2f}]"


def _caption(results: dict[str, Any], torchs: Speed) -> str:
    of_splits = " and ".join(f"{count} examples of {split}" for split, count in results["examples"].items())
    return (
        f"{results['task']}, {of_splits}; {results['device']}. Latency and "
        "throughput are ratios to torch, timed alternating: median and 20/80 percentiles of the rounds; torch took "
        f"{1000 * torchs.latency.median:.1f} ms for a text and answered {torchs.throughput.median:.0f} texts a second."
    )
