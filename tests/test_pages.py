"""README and docs: every command they show can be composed, every file and heading they link to is there."""

import re
import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from support.composing import compose
from support.shared_data import ROOT
from support.tiny import tiny_classifier

from kdfeatures.cli import main as cli
from kdfeatures.cli.help import SUMMARIES
from kdfeatures.data.synthetic.tokenizer import tokenizer

PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])


def commands(page):
    """Yield (command, overrides) of each command line in blocks of shell, comments and `...` left out."""
    for block in re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["kdfeatures"] and words[1] in SUMMARIES:
                yield words[1], [word for word in words[2:] if word not in ("...", "-m")]


SHOWN = [pytest.param(*found, id=f"{page.stem}: {' '.join(found[1])}") for page in PAGES for found in commands(page)]


def one_of(override):
    """Return an override with the first value of a sweep; None for plain words."""
    if "=" not in override and not override.startswith("~"):
        return None
    parsed = OverridesParser.create().parse_override(override)
    if not parsed.is_sweep_override():
        return override
    if "glob(" in override:  # all choices of a group, each of which has tests of its own
        return None
    return f"{override.partition('=')[0]}={next(iter(parsed.sweep_string_iterator()))}"


@pytest.mark.parametrize(("command", "overrides"), SHOWN)
def test_every_command_on_the_pages_can_be_composed(command, overrides):
    # glue takes several values of its own options
    found = [one_of(override) for override in (cli._lists(overrides) if command == "glue" else overrides)]
    compose(command, *(override for override in found if override is not None))


def test_the_pages_show_commands():
    assert {param.values[0] for param in SHOWN} >= {"finetune", "distill", "evaluate", "glue", "compare", "cache"}


def python_of(page):
    return "\n".join(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL))


def test_the_readmes_python_runs(tmp_path):
    teacher = tiny_classifier(layers=12, width=48, heads=12)
    teacher.save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    names = {"teacher": teacher, "student": tiny_classifier(layers=6)}
    exec(python_of(ROOT / "README.md").replace("bert-base-uncased", str(tmp_path)), names)
    features, (rows, length) = names["features"], names["batch"]["input_ids"].shape
    assert features.hidden.keys() == {0, 6, 12} and features.hidden[6].shape == (rows, length, 48)
    assert features.relation(12, "value", heads=48).shape == (rows, 48, length, length)
    assert names["distiller"].parts.keys() == {"logits", "hidden"}
    assert all(parameter.grad is not None for parameter in names["distiller"].objective.parameters())


def test_the_python_of_the_page_on_likeness_runs():
    texts = ["a cat sat", "so did a dog", "it ran", "no one saw it"]
    models = {"teacher": tiny_classifier(layers=6), "student": tiny_classifier()}
    names = {**models, "tokenizer": tokenizer(), "texts": texts}
    exec(python_of(ROOT / "docs" / "inspect.md"), names)
    assert names["found"]["divergence"][3, 6].matching.pairs


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("http"):
            continue
        path, _, heading = target.partition("#")
        file = page if not path else (page.parent / path).resolve()
        assert file.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}, target


def test_every_page_is_named_in_the_readme():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in (ROOT / "docs").glob("*.md") if f"docs/{page.name}" not in text] == []
