"""Notebooks open anywhere, hold nothing that a run has to find out, and print nothing but what they are asked for."""

import ast
import configparser
import json
import re

import pytest
from support.shared_data import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
EXECUTED = ROOT / "outputs" / "notebooks"  # by `make notebooks`
MAGIC = re.compile(r"^(\s*)%", re.MULTILINE)


def cells_of(notebook, kind):
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == kind]


def sources(notebook, kind="code"):
    return ["".join(cell["source"]) for cell in cells_of(notebook, kind)]


def imported(notebook):
    """Return the dotted names that the code of a notebook imports."""
    tree = ast.parse(MAGIC.sub(r"\1pass  # ", "\n".join(sources(notebook))))
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def badge(address, notebook):
    """Return the line that opens a notebook of a public GitHub repository in Colab."""
    where = address.removeprefix("https://github.com/").strip("/")
    colab = "https://colab.research.google.com"
    return f"[![Open in Colab]({colab}/assets/colab-badge.svg)]({colab}/github/{where}/blob/main/notebooks/{notebook})"


def address():
    """Return the GitHub address of project_urls in setup.cfg, None where there is none."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = config["metadata"].get("project_urls", "").splitlines()
    urls = [line.partition("=")[2].strip() for line in lines]
    return next((url for url in urls if re.fullmatch(r"https://github\.com/[^/]+/[^/]+/?", url)), None)


each = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)


def test_there_are_notebooks_and_the_page_names_each():
    page = (ROOT / "docs" / "inspect.md").read_text(encoding="utf-8")
    assert NOTEBOOKS and [path.stem for path in NOTEBOOKS if path.stem not in page] == []


@each
def test_no_outputs_are_stored(notebook):
    assert [cell["id"] for cell in cells_of(notebook, "code") if cell["outputs"] or cell["execution_count"]] == []


@each
def test_the_first_code_installs_the_package_where_it_is_missing(notebook):
    first = sources(notebook)[0]
    assert re.search(r'if importlib.util.find_spec\("kdfeatures"\) is None:.*\n    %pip install .*kdfeatures', first)
    assert "ipywidgets" in first  # without it tqdm says "IProgress not found"
    assert sum("%pip" in source for source in sources(notebook)) == 1


@each
def test_the_badge_is_that_of_the_public_address(notebook):
    lines = [line for source in sources(notebook, "markdown") for line in source.splitlines() if "colab" in line]
    expected = [badge(address(), notebook.name)] if address() else []
    assert lines == expected, "the badge is made of project_urls in setup.cfg; without a GitHub address there is none"


@each
def test_notebooks_use_the_python_api_and_not_the_commands(notebook):
    names = imported(notebook)
    assert "kdfeatures" in names
    assert [name for name in names if name.startswith(("kdfeatures.cli", "hydra", "omegaconf", "subprocess"))] == []
    assert not re.search(r"^\s*!|%%bash|%run|\bmain\(", "\n".join(sources(notebook)), re.MULTILINE)


@each
def test_text_between_the_code_states_no_number_and_no_answer(notebook):
    for source in sources(notebook, "markdown"):
        assert "**Answer" not in source
        assert not re.search(r"\d", re.sub(r"`[^`]*`", "", source)), source


@each
def test_the_answer_is_made_of_computed_values(notebook):
    answers = [source for source in sources(notebook) if "**Answer.**" in source]
    assert len(answers) == 1
    words = ast.parse(answers[0])
    literals = [node for node in ast.walk(words) if isinstance(node, ast.JoinedStr)]
    assert sum(isinstance(part, ast.FormattedValue) for node in literals for part in node.values) >= 4


@each
def test_what_make_notebooks_left_has_an_answer_and_no_warning(notebook):
    executed = EXECUTED / notebook.name
    if not executed.exists() or sources(executed) != sources(notebook):
        pytest.skip("not executed as it stands: make notebooks")
    outputs = [output for cell in cells_of(executed, "code") for output in cell["outputs"]]
    assert [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"] == []
    shown = [output.get("data", {}) for output in outputs]
    assert any("**Answer.**" in "".join(data.get("text/markdown", "")) for data in shown)
    assert any("image/png" in data for data in shown)
    printed = "".join("".join(output.get("text", "")) for output in outputs)
    assert "IProgress" not in printed and "LOAD REPORT" not in printed
