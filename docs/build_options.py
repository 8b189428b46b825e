"""Write docs/options.md and docs/choices.md from the files of conf/ and their comments: make reference

options.md has what a command takes, choices.md what the groups offer. The words are those of the files: a comment
behind an option, or above it, says what it means; those at the head of a file say what the file is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from kdfeatures.cli.help import GROUPS, SUMMARIES
from kdfeatures.config.paths import conf_dir

HERE = Path(__file__).parent
OPTIONS = """\
# Options of the commands

Made from the files of `conf/` by `make reference`; a test compares the two. An option is written `NAME=VALUE`, one
inside a section `SECTION.NAME=VALUE`, a group `GROUP=CHOICE`; what a group offers is on [the next page](choices.md).
`kdfeatures COMMAND --help` prints the same, and `kdfeatures COMMAND ... --cfg job` what a run would take.
"""
CHOICES = """\
# What the groups offer

Made from the files of `conf/` by `make reference`; a test compares the two. `GROUP=CHOICE` takes a file with all its
options, which are then overridden one by one; [which command takes which group](options.md).
"""
# what kdfeatures.cli.help leaves out, because a command takes them by its own defaults
MORE_GROUPS = {
    "data": "where the examples are, and how many of them are used",
    "teacher": "who teaches",
    "model": "what `finetune` starts from; the teacher of a generated task is made of it, too",
    "regime": "settings that a generated task brings along",
}
# of choices.md: the groups, by what one looks for
ORDER = (
    "recipe", "loss", "mapping", "heads", "projection", "task", "data", "teacher", "student", "model", "trainer",
    "cache", "balance", "mixup", "augmentation", "experiment", "arm", "regime",
)  # fmt: skip
# where a group's options stand in a config; those of the others have no section, or a term's
SECTIONS = (
    "task", "mapping", "heads", "projection", "data", "teacher", "student", "model", "trainer", "cache", "balance",
    "mixup", "augmentation",
)  # fmt: skip


MARKUP = re.compile(r"[*<]|(?<!\w)_|_(?!\w)")
PAPER = re.compile(r"arXiv:(\d{4}\.\d{4,5})")


@dataclass(frozen=True)
class Option:
    """An option as a file has it: its name with those of its sections, its value as written, and what is said of it."""

    name: str
    value: str
    meaning: str


@dataclass(frozen=True)
class ConfFile:
    """A file of conf/: its commands, the text at its head, what it takes of groups and other files, and its options."""

    examples: tuple[str, ...]
    head: str
    taken: dict[str, str | None]
    over: tuple[str, ...]
    options: tuple[Option, ...]
    makes: str | None


def options_page() -> str:
    """Return docs/options.md."""
    common = read(conf_dir() / "common.yaml")
    parts = [OPTIONS, "## What every command takes\n", options_table(common.options)]
    for command, summary in SUMMARIES.items():
        file = read(conf_dir() / f"{command}.yaml")
        parts += [f"## {command}\n", f"{sentence(escaped(summary))}\n", code(file.examples)]
        parts += [file.head] if file.head else []
        parts += [
            f"All options of [{name}](#{name}) are taken, too; these are added or differ:\n" for name in file.over
        ]
        groups = {name: choice for name, choice in file.taken.items() if name in {*GROUPS, *MORE_GROUPS}}
        if groups:
            rows = [
                (f"[`{name}`](choices.md#{name})", f"`{choice}`" if choice else "", escaped(about(name)))
                for name, choice in groups.items()
            ]
            parts.append(table(("group", "taken", "what it chooses"), rows))
        if file.options:
            parts.append(options_table(file.options))
    return "\n".join(parts)


def choices_page() -> str:
    """Return docs/choices.md. Raises LookupError for a group of conf/ that is in no place of `ORDER`."""
    left_out = {path.name for path in conf_dir().iterdir() if path.is_dir() and path.name[0] != "_"} - set(ORDER)
    if left_out:
        raise LookupError(f"{', '.join(sorted(left_out))} is in no place of ORDER in docs/build_options.py")
    parts = [CHOICES]
    for group in ORDER:
        parts += [f"## {group}\n", f"{sentence(escaped(about(group)))}\n"]
        for path in sorted((conf_dir() / group).glob("*.yaml")):
            parts += [f"### {group}={path.stem}\n", *choice(group, read(path))]
    return "\n".join(parts)


def choice(group: str, file: ConfFile) -> Iterator[str]:
    """Yield what is said of a choice."""
    yield code(file.examples)
    if file.head:
        yield file.head
    if file.makes:
        yield f"Makes `{file.makes}`.\n"
    if file.taken:
        yield f"Takes {', '.join(f'`{name}={value}`' for name, value in file.taken.items())}.\n"
    for name in file.over:
        yield f"All of [`{group}={name}`](#{group}{name}) but:\n"
    if file.options:
        prefix = {"loss": "losses.NAME."}.get(group, f"{group}." if group in SECTIONS else "")
        yield options_table(file.options, prefix)


def about(group: str) -> str:
    return GROUPS.get(group) or MORE_GROUPS[group]


def read(path: Path) -> ConfFile:
    """Return what a file says."""
    lines = path.read_text(encoding="utf-8").splitlines()
    head = []
    for line in lines:
        if not line.startswith("#"):
            break
        head.append(line.removeprefix("#").removeprefix(" "))
    head = [line for line in head if not line.startswith("@package")]
    examples = []
    while head and head[0].startswith("kdfeatures "):
        examples.append(head.pop(0))
    node = yaml.compose("\n".join(lines))
    content = yaml.safe_load("\n".join(lines)) or {}
    taken, over = {}, []
    for entry in content.get("defaults", []):
        if isinstance(entry, str):
            over += [entry] if entry not in ("_self_", "common") else []
            continue
        ((name, value),) = entry.items()
        if "hydra" not in name:
            taken[name.removeprefix("optional ").removeprefix("override ").removeprefix("/")] = value
    found = () if node is None else tuple(_options(node, lines, ""))
    return ConfFile(tuple(examples), text_of(head), taken, tuple(over), found, content.get("_target_"))


def _options(node: yaml.MappingNode, lines: list[str], prefix: str) -> Iterator[Option]:
    for key, value in node.value:
        name = key.value
        if not prefix and name in ("defaults", "hydra", "_target_", "recipe_name"):
            continue
        meaning = _meaning(key, value, lines)
        if isinstance(value, yaml.MappingNode) and value.value and not value.flow_style:
            if meaning:
                yield Option(f"{prefix}{name}", "", meaning)
            yield from _options(value, lines, f"{prefix}{name}.")
        else:
            yield Option(f"{prefix}{name}", _written(value), meaning)


def _meaning(key: yaml.Node, value: yaml.Node, lines: list[str]) -> str:
    """Return the comments right above an option, and that behind it."""
    above, at = [], key.start_mark.line - 1
    indent = key.start_mark.column
    while at >= 0 and re.match(rf" {{{indent}}}# ", lines[at]):
        above.insert(0, lines[at].strip().removeprefix("# "))
        at -= 1
    if at < 0:  # the head of the file
        above = []
    last = value.end_mark.line if isinstance(value, yaml.ScalarNode) or value.flow_style else key.start_mark.line
    behind = re.search(r"  # (.*)$", lines[last])
    return " ".join([*above, *([behind[1]] if behind else [])])


def _written(node: yaml.Node) -> str:
    """Return a value as an override has it."""
    if isinstance(node, yaml.ScalarNode):
        return node.value or '""'
    if isinstance(node, yaml.SequenceNode):
        return f"[{','.join(_written(item) for item in node.value)}]"
    return "{" + ", ".join(f"{key.value}: {_written(value)}" for key, value in node.value) + "}"


def text_of(lines: list[str]) -> str:
    """Return the text at the head of a file: lines that are indented as code or a list, the others as they are."""
    parts: list[str] = []
    indented = False
    for line in lines:
        if line.startswith("  "):
            if not indented:
                parts += ["", "```text"]
            parts.append(line[2:])
        else:
            if indented:
                parts += ["```", ""]
            parts += [""] if line.startswith("Differs from") and parts else []
            parts.append(escaped(line))
        indented = line.startswith("  ")
    return "\n".join([*parts, *(["```"] if indented else [])]).strip() + "\n" if parts else ""


def options_table(options: tuple[Option, ...], prefix: str = "") -> str:
    rows = [
        (f"`{prefix}{option.name}`", cell(f"`{option.value}`") if option.value else "", cell(escaped(option.meaning)))
        for option in options
        if option.meaning or option.value != "null"  # what a task does not have
    ]
    return table(("option", "default", "meaning"), rows)


def table(names: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [names, tuple("---" for _ in names), *rows]
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines) + "\n"


def cell(text: str) -> str:
    return text.replace("|", r"\|")


def code(lines: tuple[str, ...]) -> str:
    return "\n".join(["```bash", *lines, "```\n"])


def escaped(text: str) -> str:
    """Return text of which Markdown takes nothing for markup, outside of `code`; papers are links."""
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(piece if piece.startswith("`") else _papers(MARKUP.sub(r"\\\g<0>", piece)) for piece in pieces)


def _papers(text: str) -> str:
    return PAPER.sub(r"[arXiv:\1](https://arxiv.org/abs/\1)", text)


def sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


if __name__ == "__main__":
    for name, page in (("options.md", options_page()), ("choices.md", choices_page())):
        (HERE / name).write_text(page, encoding="utf-8")
        print(f"wrote {HERE / name}")
