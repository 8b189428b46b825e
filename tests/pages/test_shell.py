"""Texts, links and data of others as parts of a page."""

import json
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from kdfeatures.pages.shell import filled, html_text, link, page_html


def test_a_text_that_looks_like_a_marker_is_not_filled():
    assert filled("a @@ONE@@ b @@TWO@@", {"ONE": "@@TWO@@", "TWO": "2"}) == "a @@TWO@@ b 2"
    page = page_html("@@BODY@@", "<p>body</p>", facts={"@@DATA@@": "@@STYLE@@"}, footer="")
    assert page.count("<p>body</p>") == 1 and "<dt>@@DATA@@</dt><dd>@@STYLE@@</dd>" in page


def test_data_end_no_script_and_are_what_they_were():
    data = {"name": "</script><script>x</script>", "sign": "\u2028"}
    page = page_html("t", "", facts={}, footer="", data=data)
    (found,) = re.findall(r'id="data">(.*?)</script>', page, flags=re.DOTALL)
    assert json.loads(found) == data and page.count("<script") == 2


def test_a_page_may_load_nothing():
    page = page_html("t", "", facts={}, footer="")
    assert "default-src 'none'" in page and not re.search(r"https?://", page)


@pytest.mark.parametrize("name", ["javascript:x", "a b#c?d=e%20", "<img src=x>", '"quoted"', "übung/東京", "&amp;"])
def test_a_link_leads_to_the_folder_whatever_it_is_called(name, tmp_path):
    (href, text) = re.fullmatch(
        r'<a href="([^"<>]*)">(.*)</a>', link(name, tmp_path / "runs" / name, tmp_path)
    ).groups()
    assert not re.match(r"[a-z]+:", href) and not set(href) & set(" #?&")
    assert tmp_path / unquote(href) == tmp_path / "runs" / name
    assert text == html_text(name)
    beside = link("x", tmp_path / name, tmp_path)
    assert not re.search(r'href="javascript:', beside)


def test_a_link_upwards_is_relative(tmp_path):
    assert 'href="../one/seed-1"' in link("1", tmp_path / "one" / "seed-1", tmp_path / "comparison")
    assert 'href="../x"' in link("1", Path("x"), Path("y"))
