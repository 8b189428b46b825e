"""One trial of a search: a student by what it chose, scored on held-out training examples after every epoch."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import open_dict

from kdfeatures.benchmark.arms import UNUSED
from kdfeatures.benchmark.equal_steps import same_steps
from kdfeatures.benchmark.grid_run import compose
from kdfeatures.benchmark.search.settings import SearchSettings
from kdfeatures.benchmark.search.study import import_optuna, next_trial
from kdfeatures.config.load import distill_settings
from kdfeatures.config.option_errors import option_line
from kdfeatures.config.settings import DistillSettings
from kdfeatures.errors import UserError
from kdfeatures.pipelines.distill import run_distillation
from kdfeatures.pipelines.plan import plan_stages

if TYPE_CHECKING:
    from optuna import Study, Trial

OVERRIDES, SECONDS, PROBLEM = "overrides", "seconds", "problem"  # what a trial keeps beside its score

FAILURES = 3  # at the start of a search, after which it ends


@dataclass(frozen=True)
class Trials:
    """The trials of a search in `folder`. shared: the overrides of all; seed: of all students, and of what is drawn."""

    study: Study
    folder: Path
    settings: SearchSettings
    shared: Sequence[str]
    seed: int

    def check(self) -> None:
        """Raise UserError for something to choose that no run would take, named by its place in the space."""
        for name, choice in self.settings.space.items():
            for part, overrides in choice.extremes().items():
                try:
                    distill_settings(compose("distill", [*self.shared, *overrides]), UNUSED)
                except UserError as error:
                    raise UserError(f"search.space.{name}.{part}: {option_line(error)}") from error

    def run(self) -> bool:
        """Make trials until there are as many as there shall be; return whether other processes are at some of them.

        Raises UserError when the first ones all fail: so would the others.
        """
        states, failures = import_optuna().trial.TrialState, 0
        while True:
            with next_trial(self.study, self.folder, self.settings, self.seed) as trial:
                if trial is None:
                    return bool(self.study.get_trials(deepcopy=False, states=[states.RUNNING]))
                self._run(trial)
                print(self._line(trial), flush=True)
            trials = self.study.get_trials(deepcopy=False)
            failures = failures + 1 if trials[trial.number].state == states.FAIL else 0
            if failures == FAILURES and all(other.state in (states.FAIL, states.RUNNING) for other in trials):
                problem = trials[trial.number].user_attrs[PROBLEM]
                raise UserError(f"the first {failures} trials failed; the last: {problem}")

    def _run(self, trial: Trial) -> None:
        optuna = import_optuna()
        chosen = [text for name, choice in self.settings.space.items() for text in choice.overrides(name, trial)]
        states, folder = optuna.trial.TrialState, self.folder / f"trial-{trial.number}"

        def report(epoch: int, score: float) -> None:
            trial.report(score, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        start, score, state = time.monotonic(), None, states.FAIL
        try:
            chosen += self._same_steps(chosen)
            results = run_distillation(self._settings(chosen, folder), folder, report)
            assert results is not None and results.metric is not None
            score, state = results.student.metrics[results.split][results.metric], states.COMPLETE
        except optuna.TrialPruned:
            state = states.PRUNED
        except UserError as error:
            trial.set_user_attr(PROBLEM, option_line(error))
        except Exception as error:  # one trial out of memory must not cost the others
            first_line = str(error).partition("\n")[0]
            trial.set_user_attr(PROBLEM, f"{type(error).__name__}: {first_line}")
        trial.set_user_attr(OVERRIDES, chosen)
        trial.set_user_attr(SECONDS, round(time.monotonic() - start, 1))
        shutil.rmtree(folder, ignore_errors=True)  # what it chose and its score say all
        self.study.tell(trial, score, state)

    def _same_steps(self, chosen: Sequence[str]) -> list[str]:
        """Return what gives a trial in stages as many steps as another."""
        overrides = [*self.shared, *chosen]
        cfg = compose("distill", overrides)
        return same_steps(cfg, plan_stages(distill_settings(cfg, UNUSED), UNUSED), overrides) if cfg.stages else []

    def _settings(self, chosen: Sequence[str], folder: Path) -> DistillSettings:
        cfg = compose("distill", [*self.shared, *chosen, f"seed={self.seed}"])
        with open_dict(cfg):
            cfg.output_dir, cfg.existing = str(folder), "overwrite"
        return distill_settings(cfg, folder)

    def _line(self, trial: Trial) -> str:
        ended = self.study.get_trials(deepcopy=False)[trial.number]
        outcome = ended.state.name.lower()
        if outcome == "complete" and ended.value is not None:
            outcome = f"{100 * ended.value:.2f}"
        if PROBLEM in ended.user_attrs:
            outcome += f" ({ended.user_attrs[PROBLEM]})"
        chosen = ", ".join(f"{name} {_short(value)}" for name, value in ended.params.items())
        return f"[{trial.number + 1}/{self.settings.trials}] {outcome}: {chosen}"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
