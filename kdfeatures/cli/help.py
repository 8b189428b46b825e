"""The texts of --help: what the commands do, and which groups and options they take, read where Hydra reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.errors import HydraException
from hydra.types import RunMode

from kdfeatures.config.hydra_errors import explained
from kdfeatures.errors import UserError

SUMMARIES = {
    "finetune": "train a classifier on labels: a teacher, or a hard-label student",
    "distill": "train a student on a teacher's features, attention and logits, and report both",
    "explain": "print what each term of a distill run does, and its gradient on the first batch; trains nothing",
    "cache": "compute a teacher's features ahead and keep them on disk, for any number of distill runs",
    "evaluate": "score a fine-tuned model on a split",
    "glue": "run all tasks, arms and seeds of a benchmark, and collect them in a table; goes on where it was",
    "search": "find layer map, weights, stages and rate by trials, and what the best of them is worth",
    "export": "write a fine-tuned model as ONNX and int8, and score and time them beside it",
    "compare": "put the runs below a folder side by side: means, spread, and which differences exceed noise",
    "inspect": "write a page of a student's layers, heads and attention maps beside those of its teacher",
    "submission": "check a zip of predictions as the GLUE server would",
    "push": "show what of a finished run goes to the Hub, and with dry_run=false upload it",
    "demo": "train a teacher, distil it in several ways, and compare them (no data or network needed)",
}
GROUPS = {
    "task": "what to learn: a GLUE task, a label for every word, a generated task, your own files, unlabelled text",
    "recipe": "which losses, as a published method has them",
    "mapping": "which student layer learns from which teacher layer",
    "heads": "how attention heads of two counts are brought together",
    "projection": "how hidden states of two widths are brought together",
    "loss": "one more term: +loss@losses.NAME=...",
    "student": "a named size; or say student.layers=... and so on",
    "balance": "whether weights follow the terms' gradients",
    "mixup": "whether teacher and student read texts mixed two and two",
    "augmentation": "altered copies of the training texts for the teacher to label",
    "cache": "whether the teacher's features are kept on disk",
    "trainer": "settings of the Hugging Face Trainer",
    "experiment": "a named set of overrides",
    "arm": "one arm of experiment=layer_maps",
}

COMMON = "common"  # the file of what every command shares
SECTIONS = ("data", "model", "teacher", "student", "balance", "mixup", "cache")  # of which all options are shown


def overview() -> str:
    """Return the list of commands."""
    lines = ["kdfeatures distils BERT-style encoders by their features.", "", "Commands:"]
    lines += [f"  {name:<10} {text}" for name, text in SUMMARIES.items()]
    return "\n".join(
        [*lines, "", "kdfeatures COMMAND --help lists the options of a command; kdfeatures --version says which it is."]
    )


def command_help(command: str, overrides: Sequence[str] = ()) -> str:
    """Return usage, config groups with their choices, and every option with default and meaning.

    Hydra must know where the files are (kdfeatures.cli.session). overrides: what else the line says; of groups that it
    chooses from the options are shown too. Raises UserError for a choice that is not there.
    """
    loader: Any = GlobalHydra.instance().config_loader()
    try:
        taken = loader.compute_defaults_list(command, list(overrides), RunMode.MULTIRUN)
    except HydraException as error:
        raise UserError(explained(error, command, overrides)) from error
    named = {text.lstrip("+").partition("=")[0] for text in overrides}
    chosen = taken.overrides.known_choices
    of_command: list[tuple[str, str]] = []
    of_groups: dict[str, list[tuple[str, str]]] = {}
    for default in reversed(taken.defaults):  # what comes later has the last word
        path, group = default.config_path or "", (default.config_path or "").partition("/")[0]
        if path in SUMMARIES or path == COMMON:
            of_command.append((path, ""))
        elif group in chosen and (group in SECTIONS or group in GROUPS and group in named):
            of_groups.setdefault(group, []).append((path, f"{default.package}." if default.package else ""))
    example = _text(loader, command).splitlines()[0]
    lines = [f"kdfeatures {command}: {SUMMARIES[command]}", "", "Example:", f"  {example.lstrip('# ')}", ""]
    groups = [group for group in GROUPS if group in chosen or (group == "loss" and "recipe" in chosen)]
    if groups:
        lines.append("Groups (GROUP=CHOICE):")
    for group in groups:
        choices = loader.get_group_options(group, ObjectType.CONFIG, command, list(overrides))
        if choices:
            lines += [f"  {group}: {GROUPS[group]}", f"      {', '.join(sorted(choices))}"]
    lines += ["", "Options (NAME=VALUE), with their defaults:"]
    lines += _options(loader, of_command)
    order = [*(group for group in GROUPS if group not in SECTIONS), *SECTIONS]
    for group in sorted(of_groups, key=order.index):
        lines += _options(loader, of_groups[group])
    if "trainer" in chosen and "trainer" not in named:
        lines.append("  trainer.*  see conf/trainer/default.yaml; --cfg job prints all that a run would use")
    if "task" in chosen and "task" not in named:
        lines.append("  task.*  those of a task are shown with it: task=files --help")
    if command not in ("explain", "glue", "search"):
        sweep = "-m recipe=hard,tinybert_joint seed=1,2,3"
        lines += ["", f"-m with comma-separated values runs every combination: {sweep}"]
    return "\n".join(lines)


def _options(loader: Any, files: Sequence[tuple[str, str]]) -> list[str]:
    """Return a line for each option of files (name, what its options begin with); the first that has it says it."""
    lines: dict[str, str] = {}
    for path, prefix in files:
        for option, line in _options_of(_text(loader, path), prefix):
            lines.setdefault(option, line)
    return list(lines.values())


def _text(loader: Any, name: str) -> str:
    """Return the text of a config file, with its comments, which are no part of what Hydra composes."""
    folders = [Path(source.path) for source in loader.get_sources() if source.scheme() == "file"]
    files = [folder / f"{name}.yaml" for folder in folders]
    return next((file.read_text(encoding="utf-8") for file in files if file.is_file()), "")


def _options_of(text: str, prefix: str) -> Iterator[tuple[str, str]]:
    parents: list[str] = []
    for line in text.splitlines():
        if line.startswith("hydra:"):
            return
        body, _, comment = line.partition("  # ")
        name, colon, value = body.strip().partition(":")
        if not colon or body.lstrip().startswith(("#", "-")) or name in ("defaults", "_target_"):
            continue
        parents = parents[: (len(body) - len(body.lstrip())) // 2]
        if not value.strip():
            parents.append(name)
            continue
        option = prefix + ".".join([*parents, name])
        shown = f"{option}={value.strip().strip(chr(34))}"
        yield option, f"  {shown:<44} {comment}".rstrip()
