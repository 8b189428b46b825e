"""results.json, what every run leaves behind, and the short table printed from it.

Schema 1; metrics are fractions (0.913, not 91.3), but for the perplexity; missing values are null:
    schema            1
    command           finetune | distill | explain | evaluate | export | inspect | glue
    task, recipe      names; recipe is null but for distill
    mapping           the run's pairs [[student layer, teacher layer], ...], of a map that moves its candidates; null
                      but for distill
    maps              of terms whose map moves or was measured, by name: {rule, epochs}. epochs: {step, weights} at the
                      end of every epoch, for a map that moves; weights: a row for each student layer from 1, a column
                      for each teacher layer from 1. Of mapping=cka also the similarity, likewise
    heads             of terms that compare attention scores, by name: {rule} and by pair of layers, such as `1_to_2`,
                      what was matched, {pairs: [[student head, teacher head], ...] from 0, similarity: of each, on
                      texts that they were not matched on}, or the learned mix, a row for each teacher head
    seed              of student initialisation, shuffling and subsets
    split             the split that `metrics` are of
    metric            the name of the metric that models are compared by; null where nothing is scored
    teacher, student  {path, model_type, layers, hidden_size, heads, parameters, metrics}; finetune and evaluate fill
                      `student` only. metrics: {split: {metric: value}}. Of stored outputs the sizes are null, and
                      splits for which none are stored have no metrics
    teachers          of a run with several, the main one included: {name, share, shuffled, permuted, mapping} and the
                      entries of `teacher`; share of the averaged distribution. What stands outside (mapping, teacher,
                      retained) is the main one's. ensemble: {split: {metric: value}} of the averaged distribution,
                      {} where answers are no logits
    retained          student metric / teacher metric; null without either, or where the teacher has 0 or less
    examples          {split: how many the metrics are of}
    truncated         {split: {cut, of}}: how many texts of how many were longer than data.max_length, and were cut
    copied_layers     the teacher layers, from 1, that a student began with, where they were measured; else null
    vocabulary        {kept, of}: how many tokens of the tokenizer a student kept; null for all
    train_examples    examples trained on, of a stream those read; labelled_examples: those whose label was used;
                      pool_examples: those of data.pool; augmented_examples: altered copies. Of stages the largest
    seconds           {train, total}, wall clock
    losses            the mean unweighted value of every term in the last logging window
    padding           the share of padded positions in the training batches; null where nothing was trained
    report            with explain=true, what each term does and its gradient on the first batch, as
                      kdfeatures/distillation/summary.py says; otherwise null
    stages            of a run in stages: {name, seconds, losses, mapping, maps, heads, padding, report, metrics} and
                      the counts of training examples of each, metrics of the student as it was then; what stands
                      outside is of the last, seconds of all
    processes         how many trained together
    base_models       ids of the Hub's models that it comes from, through the runs that made its teacher, too
    hub               the paths of the configuration that are ids of the Hub
    commits           {id: commit} of the models of the Hub that were read, ORG/NAME or ORG/NAME@REVISION, and of data,
                      the same below datasets/
    versions          of kdfeatures, python, torch, transformers, datasets
    device            name of the device trained on
    config            the resolved configuration
    files             {name: sha256} of the model, its tokenizer and answers, as they were written
Of explain: command, config, and stages, the report of each by name ("" in a run without stages).
Of export: command, task, split, metric, path, examples {split: n}, versions, device, config; formats: {torch, onnx,
int8}, of each metrics {split: {metric: fraction}}, difference of the main one to torch {split: [value, low, high]}
(null for words), bytes, and latency, throughput and their ratios to torch [median, 20th, 80th percentile], as
kdfeatures/models/costs.py says.
Of glue: command, rows (kdfeatures/benchmark/collect.py: of each task and arm scores by seed, mean, std, metrics,
retained, difference to the baseline with low and high, learning_rate, trials, minutes), means (of each arm over
tasks), costs (of teacher and student), submission (its file, what was predicted and what filled), versions, devices,
config.
Of inspect: command, config, versions; before: how the student began; layers: {similarity, null, before} of all layers
of student (rows) and teacher; heads: {measure: {"student layer-teacher layer": the matched heads and their means}}.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from transformers import PreTrainedModel

from kdfeatures.checksums import checksums
from kdfeatures.errors import UserError
from kdfeatures.files import harmless, write_whole
from kdfeatures.models.load import parameter_count
from kdfeatures.runs.manifest import RESULTS as FILE
from kdfeatures.runs.manifest import end

SCHEMA = 1
# what must be as it was written for a run to count as finished
FILES = ("*.safetensors", "*.onnx", "config.json", "tokenizer*.json", "logits.npz")
NOT_SHARES = ("perplexity",)  # metrics that percent mean nothing for


def describe_model(path: str, model: PreTrainedModel, metrics: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Return the entry of one model."""
    return {
        "path": path,
        "model_type": model.config.model_type,
        "layers": model.config.num_hidden_layers,
        "hidden_size": model.config.hidden_size,
        "heads": model.config.num_attention_heads,
        "parameters": parameter_count(model),
        "metrics": metrics,
    }


def describe_outputs(path: str, metrics: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Return the entry of a teacher that is stored outputs: what only a model has is None."""
    unknown = dict.fromkeys(("layers", "hidden_size", "heads", "parameters"))
    return {"path": path, "model_type": "stored outputs", **unknown, "metrics": metrics}


def retained(student: float, teacher: float) -> float | None:
    """Return the share of the teacher's metric that the student keeps; None where the share has no meaning."""
    return student / teacher if teacher > 0 else None


def write_results(folder: Path, results: dict[str, Any]) -> None:
    """Write results.json at once, so that a reader sees the old file or the new one and never half of it.

    The run is then finished, and the one that it replaces goes.
    """
    files = checksums(folder, {path.name for pattern in FILES for path in folder.glob(pattern)})
    content = {"schema": SCHEMA, **results, "files": files}
    text = json.dumps(_finite(content), indent=2, default=str, allow_nan=False)
    write_whole(folder / FILE, text)
    end(folder, results.get("config"))


def _finite(value: Any) -> Any:
    # JSON has no NaN, and a diverged loss is one
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_results(folder: Path) -> dict[str, Any]:
    """Read a results.json. Raises UserError for one that is not there, is damaged, or says nothing of a run."""
    file = folder / FILE
    try:
        results = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{file}: no such file.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} cannot be read: it is damaged, or was not written by kdfeatures.") from error
    if not isinstance(results, dict):
        raise UserError(f"{file} holds no results of kdfeatures, but {str(results)[:60]!r}.")
    return results


def run_table(results: Sequence[Mapping[str, Any]], names: Sequence[str] = ()) -> str:
    """Return a markdown table with a row for each teacher and each run: the teachers first.

    names: of the runs; without them, or where one is empty, a run is called by its recipe, or by the model that was
    fine-tuned or scored.
    """
    rows, teachers = [], set()
    for run in results:
        if run.get("teacher") and (run["task"], run["teacher"]["path"]) not in teachers:
            teachers.add((run["task"], run["teacher"]["path"]))
            rows.append(_row(_teacher_name(run["teacher"]["path"]), run["teacher"], run))
    for run, name in zip(results, names or [""] * len(results), strict=True):
        row = _row(name or run["recipe"] or _model_name(_model_of(run)), run["student"], run)
        if run["retained"] is not None:
            row["retained"] = f"{100 * run['retained']:.1f}%"
        rows.append({**row, "seed": str(run["seed"])})
    names = list(dict.fromkeys(name for row in rows for name in row))
    return markdown([{name: row.get(name, "") for name in names} for row in rows])


def _model_of(run: Mapping[str, Any]) -> str:
    """The path of the model that a run fine-tuned or scored; of one that began with random weights its folder."""
    model = (run.get("config") or {}).get("model") or {}
    return model.get("path") or run["student"]["path"]


def _model_name(path: str) -> str:
    """Return the last part of a model's path or id; of a checkpoint also whose it is."""
    parts = PurePath(path).parts
    return "/".join(parts[-2:] if parts[-1:] and parts[-1].startswith("checkpoint-") else parts[-1:]) or path


def _teacher_name(path: str) -> str:
    name = _model_name(path)
    return name if name == "teacher" else f"{name} (teacher)"


def markdown(rows: Sequence[Mapping[str, str]]) -> str:
    """Return rows with equal keys as an aligned markdown table; all columns but the first are right-aligned.

    Signs that would end a cell, or that a terminal acts on, are written so that they are shown.
    """
    rows = [{_cell(name): _cell(cell) for name, cell in row.items()} for row in rows]
    names = list(rows[0])
    widths = [max(len(name), *(len(row[name]) for row in rows)) for name in names]

    def line(cells: Sequence[str]) -> str:
        padded = [cells[0].ljust(widths[0])]
        padded += [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
    return "\n".join([line(names), rule, *(line([row[name] for name in names]) for row in rows)])


def _cell(text: str) -> str:
    return harmless(" ".join(text.split())).replace("|", "\\|").replace("<", "&lt;")


def _row(name: str, model: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, str]:
    row = {"model": name, "task": run["task"], "size": model["model_type"], "parameters": ""}
    if model["layers"] is not None:
        row["size"] = f"{model['layers']} x {model['hidden_size']}"
        row["parameters"] = f"{model['parameters'] / 1e6:.2f}M"
    for split, metrics in model["metrics"].items():
        for metric, value in metrics.items():
            row[f"{metric} ({split})"] = f"{value:.2f}" if metric in NOT_SHARES else f"{100 * value:.1f}"
    return row
