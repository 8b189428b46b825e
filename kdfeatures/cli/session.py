"""Hydra for one call of a command: where its files are, and what the flags ask of it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import hydra
from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from kdfeatures.config.paths import conf_dir
from kdfeatures.errors import UserError, first_line

COMMAND_LINE = "command-line"  # what Hydra calls the source of --config-dir
Job = Callable[[DictConfig], Any]


class ConfigDirectory(SearchPathPlugin):
    """The folder of --config-dir, behind that of the package: its files add choices and replace none."""

    folder: ClassVar[Path | None] = None

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if self.folder is not None:
            search_path.append(COMMAND_LINE, f"file://{self.folder}")


@contextmanager
def hydra_for(command: str, config_dir: str | None) -> Iterator[Hydra]:
    """Have Hydra read the files of the package and of `config_dir` in the `with` block; hydra.compose uses them too."""
    Plugins.instance().register(ConfigDirectory)
    ConfigDirectory.folder = None if config_dir is None else Path(config_dir).absolute()
    try:
        with hydra.initialize_config_dir(str(conf_dir()), job_name=command, version_base="1.3"):
            ConfigDirectory.folder = None  # what is initialised inside is Python's, which has no such flag
            made: Any = GlobalHydra.instance().hydra
            yield made
    finally:
        ConfigDirectory.folder = None


def start(
    made: Hydra,
    command: str,
    arguments: argparse.Namespace,
    overrides: Sequence[str],
    jobs: Sequence[Sequence[str]] | None,
    job: Job,
) -> None:
    """Do what the flags ask for: show something, or run a job or all those of a sweep.

    jobs: the overrides of each job of a sweep; None for a single run.
    """
    words = list(overrides)
    if arguments.hydra_help:
        made.hydra_help(command, get_args_parser(), arguments)
    elif arguments.cfg:
        for number, of_job in enumerate([words] if jobs is None else jobs):
            if jobs is not None:
                print(f"{'---' if number else ''}\n# job {number}: {' '.join(of_job)}".lstrip("\n"))
            try:
                made.show_cfg(command, list(of_job), arguments.cfg, arguments.package, arguments.resolve)
            except OmegaConfBaseException as error:  # `hydra` alone refers to what --cfg all shows beside it
                raise UserError(f"--cfg {arguments.cfg} --resolve: {first_line(error)}") from error
    elif arguments.info:
        made.show_info(arguments.info, command, words)
    elif jobs is None:
        made.run(command, job, [*words, "hydra.mode=RUN"])
    else:
        made.multirun(command, job, [*words, "hydra.mode=MULTIRUN"])
