"""What teacher and student of a grid cost, measured side by side once: all arms have the same student."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock

from kdfeatures.benchmark.grid_run import GridRun
from kdfeatures.benchmark.schedule import EXPORT, ArmSchedule
from kdfeatures.config.load import task_of
from kdfeatures.config.schema import plain_config, section
from kdfeatures.data.inputs import load_inputs
from kdfeatures.data.settings import DataSettings
from kdfeatures.evaluation.timing import Spread
from kdfeatures.files import write_whole
from kdfeatures.models.costs import BATCH, costs, latency_and_throughput
from kdfeatures.models.export import OnnxClassifier
from kdfeatures.models.limits import position_count
from kdfeatures.models.load import load_trained
from kdfeatures.models.tokenizers import load_tokenizer
from kdfeatures.runs.environment import cpu_name
from kdfeatures.runs.folder import is_finished
from kdfeatures.runs.results import markdown
from kdfeatures.tasks.registry import task_type

FILE, LOCK = "costs.json", ".costs.lock"
FORMS = {"onnx": "", "int8": "-int8"}  # what the files of kdfeatures.models.export end with


def model_costs(units: Sequence[ArmSchedule], recipe: str, output_dir: Path) -> dict[str, Any] | None:
    """Return costs by model, with the task that they were timed on; None before the recipe has a finished student.

    They are measured on the CPU, on the first task that has one, by one process, and kept in costs.json until there are
    exports, too, or other models; delete it to measure again, such as on a machine with nothing else to do.
    """
    finished = [cell for unit in units if unit.arm == recipe for cell in unit.chosen if cell.is_finished]
    if not finished:
        return None
    cell, file = finished[0], output_dir / FILE
    exported = _exported(cell.folder / EXPORT)
    with FileLock(output_dir / LOCK):
        of = _identity(cell)
        cached = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        if cached.get("of") == of and exported.keys() <= cached["models"].keys():
            return cached
        measured = {"of": of, **_measure(cell, exported)}
        write_whole(file, json.dumps(measured, indent=2))
    return measured


def _identity(cell: GridRun) -> dict[str, Any]:
    """Return what tells the models and texts of one measurement from those of another."""
    results = cell.results()
    sizes = ("model_type", "layers", "hidden_size", "heads", "parameters")
    models = {name: {size: results[name][size] for size in sizes} for name in ("teacher", "student")}
    return models | {"task": cell.task, "max_length": results["config"]["data"]["max_length"]}


def _measure(cell: GridRun, exported: Mapping[str, Any]) -> dict[str, Any]:
    config = plain_config(cell.config(), cell.folder)
    task, data = task_of(config), section(config, "data", DataSettings)
    paths = {"teacher": cell.results()["teacher"]["path"], "student": str(cell.folder)}
    models = {name: load_trained(path, name, task_type(task), force=True).eval() for name, path in paths.items()}
    tokenizer = load_tokenizer(paths["student"], "student")
    examples = load_inputs(task, data, tokenizer).split(config["split"])
    timed = {**models, **exported}
    speeds = latency_and_throughput(timed, examples, tokenizer)
    positions = [count for count in map(position_count, models.values()) if count is not None]
    length = min([data.max_length, *positions])  # no text is longer, whatever max_length says
    return {
        "task": cell.task,
        "device": cpu_name(),
        "models": {
            name: asdict(speeds[name]) | (asdict(costs(models[name], length=length)) if name in models else {})
            for name in timed
        },
    }


def costs_table(found: Mapping[str, Any]) -> str:
    """Return `costs_lines` as a table and a line on how."""
    lines, how = costs_lines(found)
    return f"{markdown(lines)}\n\n{how}"


def costs_lines(found: Mapping[str, Any]) -> tuple[list[dict[str, str]], str]:
    """Return a line for each model of what `model_costs` found, and a sentence on how."""
    rows = []
    for name, model in found["models"].items():
        counted = "parameters" in model
        latency, throughput = (Spread(*model[name]).median for name in ("latency", "throughput"))
        rows.append(
            {
                "model": name,
                "parameters": f"{model['parameters'] / 1e6:.1f}M" if counted else "",
                "outside embeddings": f"{model['without_embeddings'] / 1e6:.1f}M" if counted else "",
                "FLOPs": f"{model['flops'] / 1e9:.2f}G" if counted else "",
                "latency, batch 1": f"{1000 * latency:.1f} ms {_ratio(model['latency_ratio'])}",
                f"texts a second, batch {BATCH}": f"{throughput:.0f} {_ratio(model['throughput_ratio'])}",
            }
        )
    length = found["models"]["teacher"]["length"]
    return rows, (
        f"FLOPs of one text of {length} tokens. Times on {found['task']}, {found['device']}, the "
        "models in turn: medians; in brackets the ratio to the teacher, 20/80 percentiles of the rounds."
    )


def _exported(folder: Path) -> dict[str, Any]:
    if not is_finished(folder):
        return {}
    return {f"student, {name}": OnnxClassifier(folder / f"model{end}.onnx") for name, end in FORMS.items()}


def _ratio(percentiles: Sequence[float]) -> str:
    spread = Spread(*percentiles)
    return f"({spread.median:.2f}x, {spread.low:.2f} to {spread.high:.2f})"
