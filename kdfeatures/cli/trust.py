"""What files outside the package may say to Hydra: nothing, unless the call allows it.

Hydra imports and calls what its own node names: callbacks, launchers, sweepers, logging handlers. A folder of
experiments travels, so files of `--config-dir` may not fill that node, and whoever fills it, each target in it must be
Hydra's, what an installed plugin names for itself, or of a package that this call's command line allows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra.core.config_store import ConfigNode, ConfigStore
from hydra.core.default_element import GroupDefault, ResultDefault
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import OmegaConf

from kdfeatures.errors import UserError

NODE = "hydra"
# keys whose value Hydra or logging.config imports, and what they may import without a word
CALLED = ("_target_", "class", "()", "custom_search_space")  # the last of the sweepers that draw values
PACKAGES = ("hydra", "hydra_plugins")
LOGGING = ("logging.StreamHandler", "logging.FileHandler", "logging.NullHandler", "logging.Formatter",
           "logging.handlers.RotatingFileHandler", "colorlog.ColoredFormatter")  # fmt: skip
STREAMS = ("ext://sys.stdout", "ext://sys.stderr")


def check_hydra_node(command: str, overrides: Sequence[str], node: Mapping[str, Any], allow: Sequence[str]) -> None:
    """Raise UserError when files outside the package fill the node `hydra`, and for targets in it that are not Hydra's.

    node: as composed from `overrides`, not resolved. allow: packages that the command line allows.
    """
    if NODE not in allow:
        for file, what in _said_outside(command, overrides, node.get("searchpath")):
            raise UserError(
                f"{file} sets {what}, by which Hydra runs code and writes files; read it, and if you trust it, write "
                f"allow_targets=[{NODE}] on the command line."
            )
    for where, target in _called(node, NODE):
        package = target.removeprefix("ext://").split(".")[0]
        if package not in (*PACKAGES, *allow) and target not in (*LOGGING, *STREAMS, *_of_plugins()):
            raise UserError(
                f"{where}={target} is not Hydra's own; if you trust it, write allow_targets=[{package}] on the command "
                "line."
            )


def _said_outside(command: str, overrides: Sequence[str], searched: Any) -> Iterator[tuple[str, str]]:
    """Yield files of folders that the call names, and what they say to Hydra. searched: hydra.searchpath."""
    loader: Any = GlobalHydra.instance().config_loader()
    if not searched and not any(_is_outside(source.provider) for source in loader.get_sources()):
        return
    _, repository = loader._parse_overrides_and_create_caching_repo(command, list(overrides))
    chosen: Sequence[ResultDefault] = loader.compute_defaults_list(command, list(overrides), RunMode.RUN).defaults
    for default in chosen:
        result = None if default.config_path is None else repository.load_config(default.config_path)
        if result is None or not _is_outside(result.provider):
            continue
        file = f"{result.path.removeprefix('file://')}/{default.config_path}.yaml"
        if (default.package or "").split(".")[0] == NODE:
            yield file, f"{default.package}"
        elif not default.package and NODE in result.config:
            yield file, NODE
        for entry in result.defaults_list or ():
            group = (entry.group or "").lstrip("/") if isinstance(entry, GroupDefault) else ""
            if group.split("/")[0] == NODE:
                yield file, group


def _of_plugins() -> Iterator[str]:
    """Yield what the configs call that installed plugins brought along, such as the sampler of a sweeper."""
    nodes: list[Any] = [ConfigStore.instance().repo.get(NODE, {})]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ConfigNode):
            yield from (target for _, target in _called(OmegaConf.to_container(node.node), NODE))
        else:
            nodes += node.values()


def _is_outside(provider: str) -> bool:
    return provider == "command-line" or "searchpath" in provider


def _called(node: Any, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if isinstance(value, str) and (key in CALLED or value.startswith("ext://")):
                yield f"{where}.{key}", value
            else:
                yield from _called(value, f"{where}.{key}")
    elif isinstance(node, (list, tuple)):
        for number, value in enumerate(node):
            if isinstance(value, str) and value.startswith("ext://"):
                yield f"{where}[{number}]", value
            else:
                yield from _called(value, f"{where}[{number}]")
