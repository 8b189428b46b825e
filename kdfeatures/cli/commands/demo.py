"""kdfeatures demo: one teacher, several ways to distil it, one table.

Every run is an ordinary `kdfeatures finetune` or `kdfeatures distill` with the overrides listed in conf/demo.yaml, and
is printed as the command that would repeat it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hydra
import numpy as np
from hydra.errors import HydraException
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from kdfeatures.cli.commands import distill, finetune
from kdfeatures.config.hydra_errors import explained
from kdfeatures.config.load import distill_settings, finetune_settings, task_of
from kdfeatures.config.option_errors import option_line
from kdfeatures.config.options import DemoOptions, options
from kdfeatures.config.paths import NOWHERE
from kdfeatures.config.schema import plain_config
from kdfeatures.data.load import DATA_SEED, encode, load_task, split_of
from kdfeatures.errors import UserError, nearest
from kdfeatures.evaluation.bootstrap import bootstrap_interval, paired_bootstrap
from kdfeatures.evaluation.metrics import METRICS
from kdfeatures.models.costs import latency_and_throughput
from kdfeatures.runs.environment import versions
from kdfeatures.runs.folder import alone_in_output, begin_run, open_output
from kdfeatures.runs.plots import interval_plot
from kdfeatures.runs.results import markdown, write_results
from kdfeatures.tasks.task import Task


def check(cfg: DictConfig) -> None:
    """Raise UserError for what `run` would refuse by its options, those of all its runs included."""
    record = plain_config(cfg, NOWHERE)
    options(record, DemoOptions)
    task = task_of(record)
    _check(cfg, task)
    for name, (command, overrides, folder) in _calls(cfg, task, NOWHERE):
        composed = _composed(command, overrides, folder)
        try:
            finetune_settings(composed) if command == "finetune" else distill_settings(composed)
        except UserError as error:
            raise UserError(f"the demo's run '{name}': {option_line(error)}") from error


@alone_in_output
def run(cfg: DictConfig, output_dir: Path) -> dict[str, Any]:
    """Run teacher and arms one after the other; write table.md, plot.png and results.json."""
    start = time.monotonic()
    record = plain_config(cfg, output_dir)
    open_output(output_dir, cfg.existing, record)
    task = task_of(record)
    _check(cfg, task)
    begin_run(output_dir, cfg.existing, record)
    runs = {name: _run(*call) for name, call in _calls(cfg, task, output_dir)}
    table, bars = _compare(cfg, task, output_dir, runs)
    minutes = (time.monotonic() - start) / 60
    text = f"{table}\n\n{_caption(cfg, runs, minutes)}\n"
    (output_dir / "table.md").write_text(text, encoding="utf-8")
    interval_plot(bars, f"{cfg.metric} on {task.name}, {cfg.split} split (%)", output_dir / "plot.png")
    print(f"\n{text}\nSaved {output_dir / 'table.md'} and {output_dir / 'plot.png'}")
    results = {"command": "demo", "task": task.name, "minutes": minutes, "versions": versions(), "runs": runs}
    write_results(output_dir, results)
    return results


def _check(cfg: DictConfig, task: Task) -> None:
    """Raise UserError for what would show only after the teacher was trained."""
    if not cfg.arms or cfg.baseline not in cfg.arms:
        known = ", ".join(cfg.arms or {})
        raise UserError(
            f"baseline={cfg.baseline} is no arm{nearest(str(cfg.baseline), cfg.arms or {})} (arms: {known or 'none'})."
        )
    if cfg.metric not in task.metrics:
        raise UserError(f"metric={cfg.metric} is none of the metrics of {task.name}: {', '.join(task.metrics)}.")


def _calls(cfg: DictConfig, task: Task, output_dir: Path) -> Iterator[tuple[str, tuple[str, list[str], Path]]]:
    """Yield the runs of a demo by name, the teacher's first: command, overrides and folder."""
    teacher = output_dir / "teacher"
    common = [f"task={task.name}", f"split={cfg.split}", f"seed={cfg.seed}"]
    yield "teacher", ("finetune", [*common, *cfg.teacher], teacher)
    for name, overrides in cfg.arms.items():
        yield (
            name,
            ("distill", [*common, f"teacher.path={teacher}", *cfg.student, *overrides], _folder(output_dir, name)),
        )


def _composed(command: str, overrides: list[str], folder: Path) -> DictConfig:
    try:
        cfg = hydra.compose(command, overrides)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise UserError(explained(error, command, overrides)) from error
    with open_dict(cfg):
        cfg.output_dir, cfg.existing = str(folder), "overwrite"
    return cfg


def _run(command: str, overrides: list[str], folder: Path) -> dict[str, Any]:
    print(f"\n$ kdfeatures {command} {' '.join(overrides)} output_dir={folder}", flush=True)
    run_command: Any = {"finetune": finetune.run, "distill": distill.run}[command]
    return run_command(_composed(command, overrides, folder), folder)


def _compare(
    cfg: DictConfig, task: Task, output_dir: Path, runs: dict[str, dict]
) -> tuple[str, list[tuple[str, float, float, float]]]:
    """Return the table, and (name, value, low, high) in percent for the plot."""
    tokenizer = AutoTokenizer.from_pretrained(output_dir / "teacher")
    examples = encode(split_of(load_task(task, seed=DATA_SEED), task, cfg.split), tokenizer, task, cfg.max_length)
    labels = np.asarray(examples["labels"][:])
    metric = METRICS[cfg.metric]
    models = {name: AutoModelForSequenceClassification.from_pretrained(_folder(output_dir, name)) for name in runs}
    predictions = {
        name: task.predictions_from_logits(np.load(_folder(output_dir, name) / "logits.npz")[cfg.split])
        for name in runs
    }
    speeds = latency_and_throughput(models, examples, tokenizer)
    best = runs["teacher"]["student"]["metrics"][cfg.split][cfg.metric]
    rows, bars = [], []
    for name, run_results in runs.items():
        value = run_results["student"]["metrics"][cfg.split][cfg.metric]
        low, high = bootstrap_interval(metric, predictions[name], labels)
        bars.append((name, 100 * value, 100 * low, 100 * high))
        row = {
            "model": name,
            "parameters": f"{run_results['student']['parameters'] / 1e6:.2f}M",
            f"{cfg.metric} [95% interval]": f"{100 * value:.1f} [{100 * low:.1f}, {100 * high:.1f}]",
            "retained": f"{100 * value / best:.1f}%",
            f"gain over {cfg.baseline}": "",
            "speed": f"{speeds[name].throughput_ratio.median:.1f}x",
            "train seconds": f"{run_results['seconds']['train']:.0f}",
        }
        if name not in ("teacher", cfg.baseline):
            gain, low, high = paired_bootstrap(metric, predictions[name], predictions[cfg.baseline], labels)
            row[f"gain over {cfg.baseline}"] = f"{100 * gain:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
        rows.append(row)
    return markdown(rows), bars


def _folder(output_dir: Path, name: str) -> Path:
    return output_dir / name.replace(" ", "_")


def _caption(cfg: DictConfig, runs: dict[str, dict], minutes: float) -> str:
    teacher, arm = runs["teacher"], runs[list(cfg.arms)[-1]]
    return (
        f"{teacher['task']}, generated by the package. Teacher: {teacher['train_examples']} labelled examples. "
        f"Students: {cfg.labelled} labels, and with a teacher {arm['train_examples'] - cfg.labelled} more examples "
        f"without labels; equal steps and learning rate, seed {cfg.seed}. Intervals: bootstrap over the {cfg.split} "
        "examples, paired for gains. Speed: examples per second against the teacher, median of alternating runs. "
        f"{minutes:.1f} minutes on {teacher['device']}."
    )
