"""README and docs: every command they show can be composed, every file and heading they link to is there."""

import ast
import re
from dataclasses import fields

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from support.composing import compose
from support.pages import python_blocks, shell_commands
from support.shared_data import ROOT
from support.tiny import tiny_classifier
from torch import nn
from transformers import TrainingArguments

from kdfeatures.cli.arguments import written_out
from kdfeatures.cli.help import SUMMARIES
from kdfeatures.data.synthetic.tokenizer import tokenizer

PAGES = sorted(
    [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
        *(ROOT / "docs").rglob("*.md"),
    ]
)
FROM_CONF = ("options.md", "choices.md")  # their commands open the files of conf/: tests/config/test_conf.py


def commands(page):
    """Yield (command, overrides) of each command line in blocks of shell, comments and `...` left out."""
    for words in shell_commands(page):
        if words[0] == "kdfeatures" and words[1] in SUMMARIES:
            yield words[1], [word for word in words[2:] if word not in ("...", "-m")]


SHOWN = [
    pytest.param(*found, id=f"{page.stem}: {' '.join(found[1])}")
    for page in PAGES
    if page.name not in FROM_CONF
    for found in commands(page)
]


MISSING = ("hydra/sweeper", "hydra.sweeper", "hydra/launcher=ray", "hydra.launcher.ray")  # plugins that may be


def one_of(override):
    """Return an override with the first value of a sweep; None for plain words, and for plugins that may be missing."""
    if "=" not in override and not override.startswith("~") or override.lstrip("+").startswith(MISSING):
        return None
    parsed = OverridesParser.create().parse_override(override)
    if not parsed.is_sweep_override():
        return override
    if parsed.is_interval_sweep():
        return f"{override.partition('=')[0]}={parsed.value().start}"
    if "glob(" in override:  # all choices of a group, each of which has tests of its own
        return None
    return f"{override.partition('=')[0]}={next(iter(parsed.sweep_string_iterator()))}"


@pytest.mark.parametrize(("command", "overrides"), SHOWN)
def test_every_command_on_the_pages_can_be_composed(command, overrides):
    found = [one_of(override) for override in written_out(command, overrides)]
    compose(command, *(override for override in found if override is not None))


def test_the_pages_show_commands():
    assert {param.values[0] for param in SHOWN} >= {"finetune", "distill", "evaluate", "glue", "compare", "cache"}


def test_the_python_of_the_page_on_likeness_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    texts = ["a cat sat", "so did a dog", "it ran", "no one saw it"]
    models = {"teacher": tiny_classifier(layers=6), "student": tiny_classifier()}
    names = {**models, "tokenizer": tokenizer(), "texts": texts}
    exec("\n".join(python_blocks(ROOT / "docs" / "inspect.md")), names)
    assert names["layers"].similarity.shape == (4, 7)
    assert names["heads"]["divergence"][3, 6].matching.pairs


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    text = re.sub(r"`[^`\n]*[\])][^`\n]*`", "code", page.read_text(encoding="utf-8"))  # not what looks like one in code
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("http"):
            continue
        path, _, heading = target.partition("#")
        file = page if not path else (page.parent / path).resolve()
        assert file.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}, target


def test_every_page_is_in_the_navigation_of_the_site():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert [page for page in pages if not re.search(rf"[ :]{re.escape(page)}$", text, flags=re.MULTILINE)] == []


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200


def test_the_tree_shows_every_package():
    tree = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("\nkdfeatures/\n")[2].partition("\n```")[0]
    packages = {path.parent.name for path in (ROOT / "kdfeatures").glob("*/__init__.py")}
    assert packages - set(re.findall(r"^  (\w+)/ ", tree, flags=re.MULTILINE)) == set()


def test_the_page_on_recipes_has_every_one_with_its_paper():
    rows = {
        name: line
        for line in (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8").splitlines()
        for name in re.findall(r"\(choices\.md#recipe(\w+)\)", line)
    }
    recipes = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "conf" / "recipe").glob("*.yaml")}
    assert rows.keys() == recipes.keys()
    for name, text in recipes.items():
        papers = re.findall(r"arXiv:(\d+\.\d+)", text.partition("defaults:")[0])
        assert all(f"https://arxiv.org/abs/{paper}" in rows[name] for paper in papers), name


COMMAND = "|".join(SUMMARIES)


def said_by_the_code():
    """The strings of the package, one a line, with `...` for what is put into them."""
    for path in (ROOT / "kdfeatures").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(part.value if isinstance(part, ast.Constant) else "..." for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield re.sub(r"\{[\w.]*\}", "...", node.value)


def test_the_messages_of_the_page_on_troubles_are_those_of_the_code():
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    shown = re.findall(r"`([^`\n]*)`", re.sub(r"```.*?```", "", page, flags=re.DOTALL))
    messages = [
        message
        for message in shown
        if "..." in message and not re.match(rf"(kdfeatures ({COMMAND})|torchrun) ", message)
    ]
    said = "\n".join(said_by_the_code())
    pieces = [piece.strip(" .;()") for message in messages for piece in message.split("...")]
    assert len(messages) > 20 and [piece for piece in pieces if piece not in said] == []


def test_the_flags_of_the_page_on_run_glue_are_the_trainers():
    page = (ROOT / "docs" / "coming_from" / "run_glue.md").read_text(encoding="utf-8")
    names = set(re.findall(r"(?<=trainer\.)[a-z]\w+", page))
    assert names > {"learning_rate", "weight_decay"} and names <= {field.name for field in fields(TrainingArguments)}


def test_the_modules_of_the_page_on_torchdistill_are_those_of_bert():
    page = (ROOT / "docs" / "coming_from" / "torchdistill.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    train = yaml.safe_load(block)["train"]
    terms = train["criterion"]["kwargs"]["sub_terms"]
    for side, layers, teacher in (("student", 6, False), ("teacher", 12, True)):
        hooked = train[side]["forward_hook"]["output"]
        model = tiny_classifier(layers=layers)
        assert all(isinstance(model.get_submodule(name), nn.Module) for name in hooked)
        read = {terms["kd"]["criterion"]["kwargs"][f"{side}_module_path"]}
        for term in terms.values():
            ends = term.get("criterion_wrapper", {}).get("kwargs", {}).values()
            read |= {end["module_path"] for end in ends if end["is_from_teacher"] == teacher}
        assert read == set(hooked)
    pairs = [(int(a) + 1, int(b) + 1) for a, b in re.findall(r"layer\.(\d+)', io: .*?\n.*?layer\.(\d+)'", block)]
    assert pairs == [(3, 6), (6, 12)] and "mapping.pairs=[[3,6],[6,12]]" in page
