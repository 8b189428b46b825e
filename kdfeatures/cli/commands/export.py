"""kdfeatures export: a model as ONNX and as int8, scored and timed beside the torch model."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from omegaconf import DictConfig, OmegaConf

from kdfeatures.config.schema import DataConfig, EvaluatedConfig, section
from kdfeatures.data.subsets import is_labelled
from kdfeatures.errors import UserError
from kdfeatures.evaluation.bootstrap import paired_bootstrap
from kdfeatures.evaluation.metrics import main_metric, predictions_from_logits, score
from kdfeatures.evaluation.timing import Spread
from kdfeatures.models.costs import BATCH, Speed, latency_and_throughput
from kdfeatures.models.export import OnnxClassifier, export_onnx, quantise
from kdfeatures.models.export.onnx import weight_bytes
from kdfeatures.models.export.requirements import require_packages
from kdfeatures.models.load import load_scored, load_tokenizer
from kdfeatures.models.max_length import check_positions
from kdfeatures.pipelines.inputs import counts_of, load_inputs, logits_of, scores_of
from kdfeatures.runs.folder import finished_results, open_output
from kdfeatures.runs.results import cpu_name, markdown, versions, write_results
from kdfeatures.tasks.registry import task_type
from kdfeatures.tasks.task import Task


def run(cfg: DictConfig, output_dir: Path) -> dict[str, Any]:
    """Write both files, table.md and results.json; every format answers every example of `split`, on the CPU.

    Of MNLI that is both parts; speeds are those of the first.
    """
    require_packages()
    task, data = Task.from_config(OmegaConf.to_container(cfg.task)), section(cfg, "data", DataConfig)
    source = section(cfg, "model", EvaluatedConfig)
    if not task.has_labels:
        raise UserError(f"task={task.name} has no labels to score an export by; choose a task with labels.")
    if source.path is None:
        raise UserError("nothing to export: give model.path=FOLDER_OR_HUB_ID.")
    if Path(source.path).resolve() == output_dir.resolve():
        raise UserError(f"output_dir={output_dir} is the model's own folder; choose another.")
    open_output(output_dir, cfg.existing)
    done = finished_results(output_dir, cfg)
    if done is not None:
        return done
    model, columns = load_scored(source.path, "model.path", task, force=source.force, force_option="model.force")
    model.cpu().eval()
    tokenizer = load_tokenizer(source.path, "model.path")
    splits = load_inputs(task, data, tokenizer).reported(cfg.split)
    if not all(is_labelled(split).all() for split in splits.values()):
        raise UserError(
            f"the labels of {task.name} {cfg.split} are hidden, so nothing can be scored; try split=validation."
        )
    check_positions(model, f"model.path={source.path}", list(splits.values()))

    print("Exporting ...", flush=True)
    exported = export_onnx(model, tokenizer, output_dir)
    quantised = quantise(exported)
    formats = {"torch": model, "onnx": OnnxClassifier(exported), "int8": OnnxClassifier(quantised)}
    sizes = {"torch": weight_bytes(model)} | {n: f.path.stat().st_size for n, f in formats.items() if n != "torch"}
    settings = {"batch_size": source.batch_size, "title": task.name}
    logits = {name: logits_of(task, form, splits, tokenizer, columns, **settings) for name, form in formats.items()}
    speeds = latency_and_throughput(formats, splits[cfg.split], tokenizer)
    found = {
        name: {
            "metrics": scores_of(logits[name], splits, task),
            "difference": {
                part: _difference(task, logits[name][part], logits["torch"][part], split, cfg)
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
        "split": cfg.split,
        "metric": main_metric(task),
        "path": source.path,
        "examples": counts_of(splits),
        "formats": found,
        "versions": versions(),
        "device": cpu_name(),
        "config": OmegaConf.to_container(cfg, resolve=True),
    }
    text = f"{_table(results, speeds)}\n\n{_caption(results, speeds['torch'])}\n"
    (output_dir / "table.md").write_text(text, encoding="utf-8")
    write_results(output_dir, results)
    print(f"\n{text}\nSaved in {output_dir}")
    return results


def _difference(
    task: Task, own: np.ndarray, torchs: np.ndarray, split: Dataset, cfg: DictConfig
) -> tuple[float, float, float] | None:
    """Return how far the main metric is from torch's, with its interval; None for words."""
    if task.kind != "sequence":
        return None  # the words of a text are not drawn apart from each other

    def one(predictions: np.ndarray, labels: np.ndarray) -> float:
        return score(task.metrics, predictions, labels)[main_metric(task)]

    answers = [predictions_from_logits(logits, task) for logits in (own, torchs)]
    return paired_bootstrap(one, *answers, task_type(task).labels(split), resamples=cfg.resamples, seed=cfg.seed)


def _table(results: dict[str, Any], speeds: dict[str, Speed]) -> str:
    rows = []
    for name, found in results["formats"].items():
        is_torch, speed, row = name == "torch", speeds[name], {"format": name}
        for part, metrics in found["metrics"].items():
            of = "" if part == results["split"] else f", {part}"
            row[f"{results['metric']}{of}"] = f"{100 * metrics[results['metric']]:.1f}"
            if found["difference"][part] is not None:
                difference, low, high = (100 * value for value in found["difference"][part])
                told = "" if is_torch else f"{difference:+.1f} [{low:+.1f}, {high:+.1f}]"
                row[f"difference [95% interval]{of}"] = told
        row["size"] = f"{found['bytes'] / 1e6:.1f} MB"
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
