"""What a search has found: its best trial, how many there were of each kind, and which choices mattered."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kdfeatures.benchmark.search.study import import_optuna
from kdfeatures.benchmark.search.trials import OVERRIDES, PROBLEM, SECONDS
from kdfeatures.errors import UserError
from kdfeatures.runs.results import markdown

UNSEEN = "by a teacher that has not seen these"
SEEN = "by a teacher that was trained on these, too, which favours terms that follow it closely"

if TYPE_CHECKING:
    from optuna import Study


@dataclass(frozen=True)
class Outcome:
    """A search's result.

    overrides, score: of the best trial that went to its end, on the held-out examples. counts: trials by "complete",
    "pruned" and "failed". importance: {choice: its share in what varies between complete trials}, summing to 1; empty
    where fewer than four trials, or none that differ, went to their end.
    """

    number: int
    score: float
    overrides: list[str]
    counts: Mapping[str, int]
    importance: Mapping[str, float]
    minutes: float  # of all trials together

    @classmethod
    def of(cls, study: Study) -> Outcome:
        """Return what the study holds. Raises UserError where no trial went to its end."""
        optuna = import_optuna()
        trials, states = study.get_trials(deepcopy=False), optuna.trial.TrialState
        complete = [trial for trial in trials if trial.state == states.COMPLETE]
        if not complete:
            problems = list(dict.fromkeys(trial.user_attrs[PROBLEM] for trial in trials if PROBLEM in trial.user_attrs))
            why = f" The first one failed: {problems[0]}" if problems else ""
            raise UserError(f"none of {len(trials)} trials went to its end.{why}")
        best = study.best_trial
        counts = {
            name: sum(trial.state == state for trial in trials)
            for name, state in (("complete", states.COMPLETE), ("pruned", states.PRUNED), ("failed", states.FAIL))
        }
        importance: Mapping[str, float] = {}
        if len(complete) >= 4 and len({trial.value for trial in complete}) > 1:
            importance = optuna.importance.get_param_importances(study)
        minutes = sum(trial.user_attrs.get(SECONDS, 0.0) for trial in trials) / 60
        return cls(best.number, study.best_value, best.user_attrs[OVERRIDES], counts, importance, minutes)

    def text(self, task: str, held_out: str, command: str, *, has_seen: bool = False) -> str:
        """Return the outcome as Markdown.

        held_out: the examples that trials were scored on. command: of the best. has_seen: whether the trials' teacher
        was trained on these examples, too.
        """
        kinds = ", ".join(f"{count} {name}" for name, count in self.counts.items() if count)
        lines = [
            f"Search on {task}: {sum(self.counts.values())} trials ({kinds}; {self.minutes:.1f} minutes), scored on "
            f"{held_out}, {SEEN if has_seen else UNSEEN}. The best, trial {self.number}, has "
            f"{100 * self.score:.1f} there, which is too good, as the best of many is; what it is worth says the row "
            "`search` of table.md, of fresh students on all training examples.",
            "",
            f"```bash\n{command}\n```",
        ]
        if self.importance:
            shares = [{"choice": name, "share (%)": f"{100 * share:.0f}"} for name, share in self.importance.items()]
            lines += ["", markdown(shares)]
        return "\n".join(lines)


def trials_csv(study: Study) -> str:
    """Return a line for each trial: its state, its score and epochs, seconds, and what it chose."""
    trials = study.get_trials(deepcopy=False)
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    buffer = io.StringIO()
    columns = ("trial", "state", "score", "epochs", "seconds", *names, PROBLEM)
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for trial in trials:
        seen: dict[str, Any] = {"epochs": max(trial.intermediate_values, default=0)}
        last = trial.intermediate_values.get(seen["epochs"])
        score = trial.value if trial.value is not None else last
        seen |= {
            "trial": trial.number,
            "state": trial.state.name.lower(),
            "score": "" if score is None else round(score, 6),
        }
        seen |= {key: trial.user_attrs[key] for key in (SECONDS, PROBLEM) if key in trial.user_attrs}
        writer.writerow(seen | dict(trial.params))
    return buffer.getvalue()
