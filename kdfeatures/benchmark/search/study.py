"""The trials of a search in Optuna's storage: one file, which any number of processes and calls work on."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from kdfeatures.benchmark.search.settings import SearchSettings
from kdfeatures.errors import UserError
from kdfeatures.runs.config_diff import first_difference

if TYPE_CHECKING:
    from optuna import Study, Trial

STORAGE, LOCK = "trials.log", ".trials.lock"
PLAN = "plan"  # what a study keeps of its trials' settings


def import_optuna() -> Any:
    """Return the package, which comes with the extra `search`. Raises UserError without it."""
    try:
        import optuna
    except ImportError as error:
        raise UserError("kdfeatures search needs Optuna: pip install 'kdfeatures[search]'.") from error
    optuna.logging.set_verbosity(logging.WARNING)
    return optuna


def open_study(folder: Path, settings: SearchSettings, shared: Sequence[str], seed: int) -> Study:
    """Return the study in `folder`, made where there is none; a higher score is better.

    shared, seed: of all its trials. Raises UserError for a study of trials that were begun with others, or chose from
    another space. There may be more trials than before.
    """
    optuna = import_optuna()
    folder.mkdir(parents=True, exist_ok=True)
    backend = optuna.storages.journal.JournalFileBackend(str(folder / STORAGE))
    pruner = (
        optuna.pruners.NopPruner()
        if settings.reduction is None
        else optuna.pruners.SuccessiveHalvingPruner(reduction_factor=settings.reduction)
    )
    study = optuna.create_study(
        storage=optuna.storages.JournalStorage(backend),
        study_name="search",
        direction="maximize",
        pruner=pruner,
        load_if_exists=True,
    )
    plan = _plan(settings, shared, seed)
    then = study.user_attrs.get(PLAN, plan) if study.get_trials(deepcopy=False) else plan  # else it holds nothing
    changed = first_difference(then, plan, lambda name: True)
    if changed:
        raise UserError(f"{folder} holds trials with {changed}; choose another output_dir, or delete the folder.")
    study.set_user_attr(PLAN, plan)
    return study


def _plan(settings: SearchSettings, shared: Sequence[str], seed: int) -> dict[str, Any]:
    """Return what trials must have in common to be of one study."""
    space = {f"search.space.{name}": repr(choice) for name, choice in settings.space.items()}
    return {"search.random": settings.random, "search.reduction": settings.reduction, "seed": seed, **space} | {
        f"overrides.{number}": text for number, text in enumerate(shared)
    }


@contextmanager
def next_trial(study: Study, folder: Path, settings: SearchSettings, seed: int) -> Iterator[Trial | None]:
    """Give a trial to be run, which no other process is at: one that was broken off, or else a new one.

    None where there are as many as there shall be. What a trial draws follows from `seed` and its number, and, once it
    goes by what others have shown, from which of these are there.
    """
    optuna = import_optuna()
    trial, lock = None, None
    with FileLock(folder / LOCK):  # so that the next number is this call's
        trials = study.get_trials(deepcopy=False)
        broken_off = (known for known in trials if known.state == optuna.trial.TrialState.RUNNING)
        for known in broken_off:
            lock = _taken(folder, known.number)
            if lock is not None:
                study.sampler = _sampler(settings, seed, known.number)
                trial = optuna.Trial(study, known._trial_id)
                break
        else:
            if len(trials) < settings.trials:
                study.sampler = _sampler(settings, seed, len(trials))
                trial = study.ask()
                lock = _taken(folder, trial.number)
    try:
        yield trial
    finally:
        if lock is not None:
            lock.release()


def _sampler(settings: SearchSettings, seed: int, number: int) -> Any:
    """Return what draws a trial of this number, whatever was drawn before in this process."""
    seeded = zlib.crc32(f"{seed}/{number}".encode())
    return import_optuna().samplers.TPESampler(n_startup_trials=settings.random, seed=seeded)


def _taken(folder: Path, number: int) -> FileLock | None:
    lock = FileLock(folder / f".trial-{number}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return lock
