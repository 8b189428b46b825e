"""What a release says of itself, the same everywhere."""

import configparser
import re
from importlib.metadata import metadata, version
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def setup():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config


def test_the_version_is_that_of_the_changelog_and_the_citation():
    told = setup()["metadata"]["version"]
    assert re.search(rf"^## {re.escape(told)}\b", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == told == version("kdfeatures")
    assert citation["license"] == setup()["metadata"]["license"]


def test_the_lowest_python_is_what_the_libraries_take_and_the_readme_says():
    lowest = re.match(r">=(3\.\d+)", setup()["options"]["python_requires"])[1]
    assert f"Python {lowest} to " in (ROOT / "README.md").read_text(encoding="utf-8")
    for name in ("transformers", "torch", "datasets"):
        needed = re.search(r">=\s*3\.(\d+)", metadata(name)["Requires-Python"])[1]
        assert int(lowest.partition(".")[2]) >= int(needed), name
