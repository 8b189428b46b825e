import hydra
import pytest

from kdfeatures.benchmark.settings import GridRunSettings
from kdfeatures.config.paths import conf_dir


@pytest.fixture
def composing():
    """What a command has while its job runs: Hydra, set up to compose further configs."""
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        yield


@pytest.fixture
def settings(composing, tmp_path):
    """A function from overrides to the settings of a grid on the generated tasks."""

    def made(*overrides: str) -> GridRunSettings:
        given = ["tasks=[agreement]", *overrides]
        return GridRunSettings.read(hydra.compose("glue", given), given, tmp_path)

    return made
