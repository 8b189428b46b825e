"""The site that `make docs` builds: whole, of links that lead somewhere, and without a request to anyone."""

import re
import shutil

import pytest
from support.shared_data import ROOT

pytest.importorskip("mkdocs", reason="the site needs kdfeatures[docs]")
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

TOP = ("mkdocs.yml", "README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "LICENSE", "CITATION.cff")
FETCHED = re.compile(
    r'<(?:script|img|iframe|source)[^>]*\bsrc="https?:|<link[^>]*\brel="?(?:stylesheet|preconnect)[^>]*http'
)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of what the site is made of, which a test may change."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "docs", folder / "docs")
    for name in TOP:
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def site(copy):
    built(copy)
    return copy / "outputs" / "site"


def built(folder):
    build(load_config(str(folder / "mkdocs.yml")))


def test_every_page_is_in_the_site_and_the_readme_is_its_first(site):
    made = {path.relative_to(site).with_suffix("").as_posix() for path in site.rglob("*.html")}
    pages = {path.relative_to(ROOT / "docs").with_suffix("").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert pages | {"index", "contributing", "security", "changelog"} <= made
    assert "<h1" in (site / "index.html").read_text(encoding="utf-8")


def test_no_page_fetches_anything_from_elsewhere(site):
    asking = [path.name for path in site.rglob("*.html") if FETCHED.search(path.read_text(encoding="utf-8"))]
    assert asking == []


def test_links_that_lead_nowhere_and_pages_out_of_the_navigation_are_errors(copy, site):
    wrong = (
        "[a](losses.md#no-such-heading)",
        "[a](no_such_page.md)",
        "[a](../README.md#no-such-heading)",
        "![a](no.png)",
    )
    page = copy / "docs" / "cache.md"
    page.write_text("\n\n".join([page.read_text(encoding="utf-8"), *wrong]), encoding="utf-8")
    (copy / "docs" / "left_out.md").write_text("# Left out\n", encoding="utf-8")
    with pytest.raises(Abort, match=f"Aborted with {len(wrong) + 1} warnings in strict mode"):
        built(copy)
