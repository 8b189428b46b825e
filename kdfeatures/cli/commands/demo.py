"""kdfeatures demo: one teacher, several ways to distil it, one table.

Every run is an ordinary `kdfeatures finetune` or `kdfeatures distill` with the overrides listed in conf/demo.yaml, and
is printed as the command that would repeat it.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import hydra
import numpy as np
from hydra.errors import HydraException
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from kdfeatures.cli.commands import distill, finetune
from kdfeatures.cli.side_by_side import at_a_time, side_by_side
from kdfeatures.config.compose import quoted
from kdfeatures.config.hydra_errors import explained
from kdfeatures.config.load import distill_settings, task_of
from kdfeatures.config.option_errors import option_line
from kdfeatures.config.options import DemoOptions, options
from kdfeatures.config.paths import NOWHERE
from kdfeatures.config.schema import plain_config
from kdfeatures.data.load import DATA_SEED, encode, load_task, split_of
from kdfeatures.errors import UserError, nearest
from kdfeatures.evaluation.bootstrap import seeds_bootstrap, seeds_interval
from kdfeatures.evaluation.metrics import METRICS
from kdfeatures.models.costs import latency_and_throughput
from kdfeatures.runs.environment import versions
from kdfeatures.runs.folder import alone_in_output, begin_run, open_output
from kdfeatures.runs.plots import interval_plot
from kdfeatures.runs.results import markdown, write_results
from kdfeatures.runtime.threads import torch_threads
from kdfeatures.tasks.task import Task


def check(cfg: DictConfig) -> None:
    """Raise UserError for what `run` would refuse by its options, those of all its runs included."""
    record = plain_config(cfg, NOWHERE)
    options(record, DemoOptions)
    task = task_of(record)
    _check(cfg, task)
    for name, _, (command, overrides, folder) in _calls(cfg, task, NOWHERE):
        check_run: Callable[[DictConfig], Any] = finetune.check if command == "finetune" else distill_settings
        if command == "distill" and task.embedded is not None:  # the teacher to be made is known by its sizes
            planned = [f"teacher.{text}" for text in cfg.finetune if text.startswith("model.")]
            overrides = [text for text in overrides if not text.startswith("teacher.path=")] + planned
            check_run = distill.check
        composed = _composed(command, overrides, folder)
        try:
            check_run(composed)
        except UserError as error:
            raise UserError(f"the demo's run '{name}': {option_line(error)}") from error


@alone_in_output
def run(cfg: DictConfig, output_dir: Path) -> dict[str, Any]:
    """Run the teacher, then all arms with all seeds side by side; write table.md, plot.png and results.json."""
    start = time.monotonic()
    record = plain_config(cfg, output_dir)
    open_output(output_dir, cfg.existing, record)
    task = task_of(record)
    _check(cfg, task)
    begin_run(output_dir, cfg.existing, record)
    runs: dict[str, dict[int, dict]] = {}
    (name, seed, of_teacher), *students = _calls(cfg, task, output_dir)
    with torch_threads(cfg.threads):
        runs[name] = {seed: _run(*_composed_call(*of_teacher))}
    composed = [_composed_call(*call) for *_, call in students]
    results_of = side_by_side(_run, composed, processes=cfg.processes, threads=cfg.threads)
    for (name, seed, _), results in zip(students, results_of, strict=True):
        runs.setdefault(name, {})[seed] = results
    with torch_threads(cfg.threads):
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
    if not cfg.seeds or len(set(cfg.seeds)) < len(cfg.seeds):
        raise UserError(f"seeds={list(cfg.seeds)} must name at least one, and none twice.")
    if cfg.metric not in task.metrics:
        raise UserError(f"metric={cfg.metric} is none of the metrics of {task.name}: {', '.join(task.metrics)}.")


def _calls(cfg: DictConfig, task: Task, output_dir: Path) -> Iterator[tuple[str, int, tuple[str, list[str], Path]]]:
    """Yield the runs of a demo by name and seed, the teacher's first: command, overrides and folder."""
    common = [f"task={task.name}", f"split={cfg.split}"]
    teacher = _folder(output_dir, "teacher", cfg.seed)
    yield "teacher", cfg.seed, ("finetune", [*common, f"seed={cfg.seed}", *cfg.finetune], teacher)
    for name, overrides in cfg.arms.items():
        for seed in cfg.seeds:
            chosen = [*common, f"seed={seed}", f"teacher.path={quoted(str(teacher))}", *cfg.distill, *overrides]
            yield name, seed, ("distill", chosen, _folder(output_dir, name, seed))


def _composed(command: str, overrides: list[str], folder: Path) -> DictConfig:
    try:
        cfg = hydra.compose(command, overrides)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise UserError(explained(error, command, overrides)) from error
    with open_dict(cfg):
        cfg.output_dir, cfg.existing = str(folder), "overwrite"
    return cfg


def _composed_call(command: str, overrides: list[str], folder: Path) -> tuple[str, str, DictConfig, Path]:
    """Return the command as one would write it, and as it is run."""
    words = ["kdfeatures", command, *overrides, f"output_dir={quoted(str(folder))}"]
    return shlex.join(words), command, _composed(command, overrides, folder), folder


def _run(line: str, command: str, cfg: DictConfig, folder: Path) -> dict[str, Any]:
    print(f"\n$ {line}", flush=True)
    run_command: Any = {"finetune": finetune.run, "distill": distill.run}[command]
    return run_command(cfg, folder)


def _compare(
    cfg: DictConfig, task: Task, output_dir: Path, runs: dict[str, dict[int, dict]]
) -> tuple[str, list[tuple[str, float, float, float]]]:
    """Return the table, and (name, value, low, high) in percent for the plot."""
    tokenizer = AutoTokenizer.from_pretrained(_folder(output_dir, "teacher", cfg.seed))
    examples = encode(split_of(load_task(task, seed=DATA_SEED), task, cfg.split), tokenizer, task, cfg.max_length)
    labels = np.asarray(examples["labels"][:])
    metric = METRICS[cfg.metric]
    models = {
        name: AutoModelForSequenceClassification.from_pretrained(_folder(output_dir, name, next(iter(of_seeds))))
        for name, of_seeds in runs.items()
    }
    predictions = {
        name: np.array([_predictions(task, cfg.split, _folder(output_dir, name, seed)) for seed in of_seeds])
        for name, of_seeds in runs.items()
    }
    speeds = latency_and_throughput(models, examples, tokenizer)
    scores_of = {
        name: [results["student"]["metrics"][cfg.split][cfg.metric] for results in of_seeds.values()]
        for name, of_seeds in runs.items()
    }
    (best,) = scores_of["teacher"]
    rows, bars = [], []
    for name, of_seeds in runs.items():
        scores = scores_of[name]
        value = mean(scores)
        low, high = seeds_interval(metric, predictions[name], labels)
        bars.append((name, 100 * value, 100 * low, 100 * high))
        row = {
            "model": name,
            "parameters": f"{next(iter(of_seeds.values()))['student']['parameters'] / 1e6:.2f}M",
            f"{cfg.metric} ± spread [95% interval]": (
                f"{100 * value:.1f}{_spread(scores)} [{100 * low:.1f}, {100 * high:.1f}]"
            ),
            "retained": f"{100 * value / best:.1f}%",
            f"gain over {cfg.baseline}": "",
            "speed": f"{speeds[name].throughput_ratio.median:.1f}x",
            "train seconds": f"{mean(results['seconds']['train'] for results in of_seeds.values()):.0f}",
        }
        if name not in ("teacher", cfg.baseline):
            gain, low, high = seeds_bootstrap(metric, predictions[name], predictions[cfg.baseline], labels)
            row[f"gain over {cfg.baseline}"] = f"{100 * gain:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
        rows.append(row)
    return markdown(rows), bars


def _spread(scores: Sequence[float]) -> str:
    return f" ± {100 * stdev(scores):.1f}" if len(scores) > 1 else ""


def _predictions(task: Task, split: str, folder: Path) -> np.ndarray:
    return task.predictions_from_logits(np.load(folder / "logits.npz")[split])


def _folder(output_dir: Path, name: str, seed: int) -> Path:
    return output_dir / name.replace(" ", "_") / f"seed-{seed}"


def _caption(cfg: DictConfig, runs: dict[str, dict[int, dict]], minutes: float) -> str:
    teacher, arm = (next(iter(runs[name].values())) for name in ("teacher", list(cfg.arms)[-1]))
    seeds, count = ", ".join(map(str, cfg.seeds)), at_a_time(len(cfg.arms) * len(cfg.seeds), cfg.processes)
    return (
        f"{teacher['task']}, generated by the package. Teacher: {teacher['train_examples']} labelled examples. "
        f"Students: {cfg.labelled} labels, and with a teacher {arm['train_examples'] - cfg.labelled} more examples "
        f"without labels; equal steps and learning rate. Mean and standard deviation over the students' seeds {seeds} "
        f"(the teacher's is {cfg.seed}). Intervals: bootstrap over seeds and {cfg.split} examples, paired for gains. "
        "Speed: examples per second against the teacher, median of alternating runs. "
        f"{minutes:.1f} minutes on {teacher['device']} a student, {count} at a time."
    )
