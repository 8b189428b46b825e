"""The jobs of a sweep: all that Hydra's basic sweeper will run, or samples of what another one will choose from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf

from kdfeatures.errors import UserError

BASIC = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
EXCLUDED = "hydra.job.config.override_dirname.exclude_keys"


class Sweep(NamedTuple):
    """jobs: the overrides of each. fixed: what all share. is_whole: these are all; other sweepers choose as they go."""

    jobs: list[list[str]]
    fixed: list[str]
    is_whole: bool

    @property
    def naming(self) -> str:
        """The override by which a job's folder is named by what the sweep varies, not by all that was said."""
        return f"{EXCLUDED}={self.fixed}"


def is_sweep(made: Hydra, command: str, overrides: Sequence[str]) -> bool:
    """Whether the config itself asks for one, by hydra.mode, also where values are those of several jobs."""
    return bool(made.get_mode(command, list(overrides)) == RunMode.MULTIRUN)


def sweep_of(made: Hydra, command: str, overrides: Sequence[str]) -> Sweep:
    """Return the jobs of a sweep.

    Raises HydraException for what cannot be read, UserError for what the sweeper does not take.
    """
    node = made.compose_config(command, list(overrides), RunMode.MULTIRUN, from_shell=False).hydra
    sweeper: Any = OmegaConf.to_container(node.sweeper, resolve=True)
    _check_direction(sweeper)
    given: Any = OmegaConf.to_container(node.overrides, resolve=False)  # what they refer to is known in a job
    params = sweeper.get("params") or {}
    texts = [f"{name}={value}" for name, value in params.items() if not isinstance(value, (dict, list))]
    # with the loader it knows what arm=glob(*) stands for
    reader = OverridesParser.create(config_loader=made.config_loader)
    parsed = reader.parse_overrides([*texts, *given["task"]])
    is_basic = sweeper["_target_"] == BASIC
    jobs = _all_jobs(parsed) if is_basic else _samples(parsed)
    fixed = [override.key_or_group for override in parsed if not override.is_sweep_override()]
    return Sweep([[*given["hydra"], *job] for job in jobs], fixed, is_basic)


def job_folder(overrides: str, *, _root_: Any) -> str:
    """Return the folder of a job below that of its sweep: what the sweep varies.

    Before it stands the number where a sweeper may choose the same again. overrides: as `hydra.job.override_dirname`
    has them.
    """
    name = overrides.replace("/", "_").replace(" ", "")
    if OmegaConf.select(_root_, "hydra.sweeper._target_") in (None, BASIC):
        return name or "default"
    trial = f"trial={OmegaConf.select(_root_, 'hydra.job.num')}"
    return f"{trial},{name}" if name else trial


OmegaConf.register_new_resolver("job_folder", job_folder, replace=True)


def _all_jobs(parsed: Sequence[Override]) -> list[list[str]]:
    try:
        (jobs,) = BasicSweeper.split_arguments(list(parsed), None)
    except HydraException as error:
        unending = next(override for override in parsed if override.is_sweep_override() and not _is_discrete(override))
        raise UserError(
            f"{unending.input_line} names no values to try; write them out, NAME=VALUE,VALUE, or give a sweeper that "
            "chooses some, such as hydra/sweeper=optuna (docs/search.md)."
        ) from error
    return jobs


def _samples(parsed: Sequence[Override]) -> Iterable[list[str]]:
    """Yield jobs that have every value once that may be chosen, of an interval its ends."""
    values = [_values(override) for override in parsed]
    for number in range(max(map(len, values), default=1)):
        yield [of_one[min(number, len(of_one) - 1)] for of_one in values]


def _values(override: Override) -> list[str]:
    key, value = override.get_key_element(), override.value()
    if not override.is_sweep_override():
        return [f"{key}={override.get_value_element_as_str()}"]
    if _is_discrete(override):
        return [f"{key}={text}" for text in override.sweep_string_iterator()]
    assert isinstance(value, IntervalSweep)
    return [f"{key}={value.start}", f"{key}={value.end}"]


def _is_discrete(override: Override) -> bool:
    return bool(override.is_discrete_sweep())


def _check_direction(sweeper: dict[str, Any]) -> None:
    direction = sweeper.get("direction")
    if getattr(direction, "name", direction) == "minimize":
        raise UserError(
            "hydra.sweeper.direction=minimize looks for the lowest score, but of a run's main metric more is better; "
            "add hydra.sweeper.direction=maximize."
        )
