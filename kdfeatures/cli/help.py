"""The texts of --help: what the commands do, and which groups and options they take, read from conf/."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml

from kdfeatures.config.paths import conf_dir

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
    "augmentation": "altered copies of the training texts for the teacher to label",
    "cache": "whether the teacher's features are kept on disk",
    "trainer": "settings of the Hugging Face Trainer",
    "experiment": "a named set of overrides",
    "arm": "one arm of experiment=layer_maps",
}


def overview() -> str:
    """Return the list of commands."""
    lines = ["kdfeatures distils BERT-style encoders by their features.", "", "Commands:"]
    lines += [f"  {name:<10} {text}" for name, text in SUMMARIES.items()]
    return "\n".join(
        [*lines, "", "kdfeatures COMMAND --help lists the options of a command; kdfeatures --version says which it is."]
    )


def command_help(command: str) -> str:
    """Return usage, config groups with their choices, and every option with default and meaning."""
    conf = conf_dir()
    files = _files(conf / f"{command}.yaml")
    example = files[0].read_text(encoding="utf-8").splitlines()[0]
    lines = [
        f"kdfeatures {command}: {SUMMARIES[command]}",
        "",
        "Example:",
        f"  {example.lstrip('# ')}",
        "",
    ]
    chosen = {group: choice for file in files for group, choice in _defaults(file).items()}
    groups = [group for group in (*chosen, "loss") if group in GROUPS and (group != "loss" or "recipe" in chosen)]
    if groups:
        lines.append("Groups (GROUP=CHOICE):")
    for group in groups:
        choices = sorted(path.stem for path in (conf / group).glob("*.yaml"))
        if choices:
            lines += [f"  {group}: {GROUPS[group]}", f"      {', '.join(choices)}"]
    lines += ["", "Options (NAME=VALUE), with their defaults:"]
    shown = [line for file in (*files, conf / "common.yaml") for line in _options(file, "")]
    # the first file that has an option says its default
    lines += reversed({line.split("=")[0]: line for line in reversed(shown)}.values())
    for group in ("data", "model", "teacher", "student", "balance", "cache"):
        if group in chosen:
            lines += _options(conf / group / f"{chosen[group]}.yaml", f"{group}.")
    if "trainer" in chosen:
        lines.append("  trainer.*  see conf/trainer/default.yaml; --cfg job prints all that a run would use")
    if command not in ("explain", "glue", "search"):
        sweep = "-m recipe=hard,tinybert_joint seed=1,2,3"
        lines += ["", f"-m with comma-separated values runs every combination: {sweep}"]
    return "\n".join(lines)


def _files(path: Path) -> list[Path]:
    """Return a command's file, and that of the command whose config it takes over."""
    taken = [entry for entry in _entries(path) if isinstance(entry, str) and entry in SUMMARIES]
    return [path, *(path.with_stem(name) for name in taken)]


def _entries(path: Path) -> list[str | dict[str, str]]:
    return yaml.safe_load(path.read_text(encoding="utf-8")).get("defaults", [])


def _defaults(path: Path) -> dict[str, str]:
    chosen = {}
    for entry in _entries(path):
        if isinstance(entry, dict):
            ((group, choice),) = entry.items()
            chosen[group.removeprefix("optional ")] = choice
    return chosen


def _options(path: Path, prefix: str) -> Iterator[str]:
    parents: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("hydra:"):
            return
        body, _, comment = line.partition("  # ")
        name, colon, value = body.strip().partition(":")
        if not colon or body.lstrip().startswith(("#", "-")) or name == "defaults":
            continue
        parents = parents[: (len(body) - len(body.lstrip())) // 2]
        if not value.strip():
            parents.append(name)
            continue
        option = prefix + ".".join([*parents, name]) + "=" + value.strip().strip('"')
        yield f"  {option:<44} {comment}".rstrip()
