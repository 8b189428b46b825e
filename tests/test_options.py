"""docs/options.md and docs/choices.md are what the files of conf/ say now, and leave no word of theirs out."""

import importlib.util
import re
import sys

import pytest
import yaml
from support.shared_data import ROOT

from kdfeatures.cli.help import SUMMARIES
from kdfeatures.config.paths import conf_dir

FILES = sorted(conf_dir().rglob("*.yaml"))
COMMANDS = [path for path in FILES if path.stem in SUMMARIES and path.parent == conf_dir()]
CHOICES = [path for path in FILES if path.parent != conf_dir()]
COMMENT = re.compile(r"(?:^| ) *# (?!@package|kdfeatures )(.*)$", re.MULTILINE)


@pytest.fixture(scope="module")
def generator():
    spec = importlib.util.spec_from_file_location("build_options", ROOT / "docs" / "build_options.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages(generator):
    return {"options.md": generator.options_page(), "choices.md": generator.choices_page()}


@pytest.mark.parametrize("name", ["options.md", "choices.md"])
def test_the_page_is_what_the_files_say(pages, name):
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert page == pages[name], f"docs/{name} is old: run `make reference`"


def plain(text):
    """Return text without what Markdown adds to it."""
    text = re.sub(r"\[(arXiv:[\d.]+)\]\(\S+?\)", r"\1", text)
    return " ".join(text.replace("\\", "").replace("```text", "").replace("```", "").split())


@pytest.mark.parametrize(("name", "files"), [("options.md", COMMANDS), ("choices.md", CHOICES)])
def test_every_comment_stands_on_a_page(pages, name, files):
    said = COMMENT.findall("\n".join(path.read_text(encoding="utf-8") for path in files))
    text = plain(pages[name])
    assert len(said) > 50 and [comment for comment in said if plain(comment) not in text] == []


def test_every_option_that_a_choice_sets_has_a_row(pages):
    missing = []
    for path in CHOICES:
        choice = f"{path.parent.name}={path.stem}"
        part = pages["choices.md"].partition(f"\n### {choice}\n")[2].partition("\n### ")[0]
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        names = {name for name, value in content.items() if value is not None} - {"defaults", "_target_", "recipe_name"}
        missing += [f"{choice}: {name}" for name in names if not re.search(rf"[`.]{name}[`.]", part)]
    assert missing == []


def test_a_meaning_is_what_stands_above_an_option_and_behind_it(generator, tmp_path):
    (tmp_path / "a.yaml").write_text(
        "# kdfeatures distill a=b\n# What it is:\n#   a list\nfirst: 1  # behind | a bar\n# above\nsecond:\n"
        '  inner: "off"  # <term>\n  flow: {a: [1, 2]}\nthird: null\n'
    )
    read = generator.read(tmp_path / "a.yaml")
    assert read.examples == ("kdfeatures distill a=b",) and read.head == "What it is:\n\n```text\na list\n```\n"
    assert [(option.name, option.value, option.meaning) for option in read.options] == [
        ("first", "1", "behind | a bar"),
        ("second", "", "above"),
        ("second.inner", "off", "<term>"),
        ("second.flow", "{a: [1,2]}", ""),
        ("third", "null", ""),
    ]
    rows = generator.options_table(read.options, "x.")
    assert "| `x.first` | `1` | behind \\| a bar |" in rows and "\\<term>" in rows and "x.third" not in rows
