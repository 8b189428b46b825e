"""What moving maps leave behind: their state in the log at the end of every epoch, and from there in results.json."""

from __future__ import annotations

from typing import Any

from transformers import Trainer, TrainerCallback

from kdfeatures.distillation.objective import Objective
from kdfeatures.mapping.dynamic import described

ENTRY = "maps"  # of a log entry: {term: weights}


class MapLog(TrainerCallback):
    """Logs `map/<term>/layer/<m>` and `map/<term>/entropy` of each moving map, and its weights in trainer_state.json.

    It does so at the last step of an epoch, before a checkpoint of that step is written, and when training ends.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if float(state.epoch).is_integer():
            self._log()

    def on_train_end(self, args, state, control, **kwargs) -> None:
        if not any(ENTRY in entry and entry["step"] == state.global_step for entry in state.log_history):
            self._log()

    def _log(self) -> None:
        maps = {name: one for name, one in self.trainer.model.objective.maps.items() if one.moves}
        weights = {name: one.weights() for name, one in maps.items()}
        if not maps:
            return
        told = {f"map/{name}/{key}": value for name, own in weights.items() for key, value in described(own).items()}
        self.trainer.log({key: round(value, 4) for key, value in told.items()})
        # loggers take plain numbers only
        self.trainer.state.log_history[-1][ENTRY] = {name: _rounded(own.tolist()) for name, own in weights.items()}
        for one in maps.values():
            one.restart()


def maps_of(objective: Objective, trainer: Trainer) -> dict[str, dict[str, Any]]:
    """Return what results.json keeps of the maps that moved or were measured, by term; see kdfeatures.runs.results."""
    entries = [entry for entry in trainer.state.log_history if ENTRY in entry]
    return {
        name: {
            "rule": one.rule,
            "epochs": [{"step": entry["step"], "weights": entry[ENTRY][name]} for entry in entries if one.moves],
            **one.measured(),
        }
        for name, one in objective.maps.items()
    }


def _rounded(rows: list[list[float]]) -> list[list[float]]:
    return [[round(value, 4) for value in row] for row in rows]
