"""A sweeper that chooses as it goes: it tries the first value of each choice, the last, and the better one again."""

import dataclasses
import json
from pathlib import Path

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper


@dataclasses.dataclass
class Climber:
    """Of how many trials the last ones repeat the best. It stands for the samplers that plugins bring along."""

    _target_: str = "hydra_climber.Climber"
    repeats: int = 2


@dataclasses.dataclass
class ClimbingSweeperConf:
    _target_: str = "hydra_plugins.climbing_sweeper.ClimbingSweeper"
    direction: str = "maximize"
    climber: Climber = dataclasses.field(default_factory=Climber)
    params: dict[str, str] | None = None


ConfigStore.instance().store(group="hydra/sweeper", name="climbing", node=ClimbingSweeperConf, provider="climbing")


class ClimbingSweeper(Sweeper):
    def __init__(self, direction, climber, params):
        self.repeats = climber.repeats

    def setup(self, *, hydra_context, task_function, config):
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments):
        parsed = OverridesParser.create().parse_overrides([*self._params(), *arguments])
        tried = [
            (trial, self._value(number, trial)) for number, trial in enumerate([_ends(parsed, 0), _ends(parsed, -1)])
        ]
        best = max(tried, key=lambda trial: -1 if trial[1] is None else trial[1])[0]
        tried += [(best, self._value(len(tried) + number, best)) for number in range(self.repeats)]
        Path(self.config.hydra.sweep.dir, "tried.json").write_text(json.dumps(tried))

    def _params(self):
        return [f"{name}={value}" for name, value in (self.config.hydra.sweeper.params or {}).items()]

    def _value(self, number, trial):
        (done,) = self.launcher.launch([trial], initial_job_idx=number)
        return done.return_value


def _ends(parsed, which):
    trial = []
    for override in parsed:
        key, value = override.get_key_element(), override.value()
        if not override.is_sweep_override():
            trial.append(f"{key}={override.get_value_element_as_str()}")
        elif override.is_discrete_sweep():
            trial.append(f"{key}={list(override.sweep_string_iterator())[which]}")
        else:
            trial.append(f"{key}={(value.start, value.end)[which]}")
    return trial
