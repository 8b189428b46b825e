"""What happens while a Trainer trains: what the screen tells, and what moving maps leave in log and results.json."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from transformers import Trainer, TrainerCallback

from kdfeatures.distillation.bound import BoundObjective
from kdfeatures.mapping.dynamic import weight_statistics

logger = logging.getLogger(__name__)

UNSHOWN = ("runtime", "model_preparation")  # of an evaluation's metrics: how long it took
PER = "_per_second"
ENTRY = "maps"  # of a log entry: {term: weights}


class AfterEpochs(TrainerCallback):
    """Calls `function` after each epoch with how many there have been; at max_steps the last one is in part."""

    def __init__(self, function: Callable[[float], None]) -> None:
        self.function = function

    def on_epoch_end(self, args, state, control, **kwargs) -> None:
        self.function(state.epoch)


class Screen(TrainerCallback):
    """Says the scores of every evaluation as they come; and with `lines`, what a progress bar would show, line by line.

    lines: at every log of the loss: step, loss, learning rate and the time that is left.
    """

    def __init__(self, *, lines: bool) -> None:
        self.lines, self._begin, self._first = lines, 0.0, 0

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        self._begin, self._first = time.monotonic(), state.global_step

    def on_evaluate(self, args, state, control, metrics=None, **kwargs) -> None:
        if not state.is_world_process_zero:
            return
        scores = {name.removeprefix("eval_"): value for name, value in (metrics or {}).items()}
        shown = [
            f"{name} {value:.4f}"
            for name, value in scores.items()
            if isinstance(value, float) and name != "epoch" and not name.startswith(UNSHOWN) and not name.endswith(PER)
        ]
        logger.info(f"epoch {state.epoch or 0:.3g}, step {state.global_step}: {', '.join(shown)}")

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        if not self.lines or not logs or "loss" not in logs or not state.is_world_process_zero:
            return
        done, left = state.global_step - self._first, state.max_steps - state.global_step
        seconds = (time.monotonic() - self._begin) / max(1, done) * left
        logger.info(
            f"step {state.global_step}/{state.max_steps}: loss {float(logs['loss']):.4g}, learning rate "
            f"{logs.get('learning_rate', 0.0):.3g}, {timedelta(seconds=round(seconds))} left"
        )


class MapLog(TrainerCallback):
    """Logs `map/<term>/layer/<m>` and `map/<term>/entropy` of each moving map, and its weights in trainer_state.json.

    It does so at the last step of an epoch, before a checkpoint of that step is written, and when training ends.
    """

    def __init__(self, trainer: Trainer, objective: BoundObjective) -> None:
        self.trainer, self.objective = trainer, objective

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if float(state.epoch).is_integer():
            self._log()

    def on_train_end(self, args, state, control, **kwargs) -> None:
        if not any(ENTRY in entry and entry["step"] == state.global_step for entry in state.log_history):
            self._log()

    def _log(self) -> None:
        maps = {name: dynamic for name, dynamic in self.objective.maps.items() if dynamic.moves}
        weights = {name: dynamic.weights() for name, dynamic in maps.items()}
        if not maps:
            return
        statistics = {
            f"map/{name}/{key}": round(value, 4)
            for name, of_map in weights.items()
            for key, value in weight_statistics(of_map).items()
        }
        self.trainer.log(statistics)
        entry: dict[str, Any] = self.trainer.state.log_history[-1]
        # loggers take plain numbers only
        entry[ENTRY] = {name: _rounded(of_map.tolist()) for name, of_map in weights.items()}
        for dynamic in maps.values():
            dynamic.restart()


def maps_of(objective: BoundObjective, trainer: Trainer) -> dict[str, dict[str, Any]]:
    """Return what results.json keeps of the maps that moved or were measured, by term; see kdfeatures.runs.results."""
    history: list[dict[str, Any]] = trainer.state.log_history  # of more than numbers: see MapLog
    entries = [entry for entry in history if ENTRY in entry]
    return {
        name: {
            "rule": dynamic.rule,
            "epochs": [{"step": entry["step"], "weights": entry[ENTRY][name]} for entry in entries if dynamic.moves],
            **dynamic.measured(),
        }
        for name, dynamic in objective.maps.items()
    }


def _rounded(rows: list[list[float]]) -> list[list[float]]:
    return [[round(value, 4) for value in row] for row in rows]
