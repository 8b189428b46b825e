"""Texts, labels and names that are markup, or that a terminal would act on, are shown as they are."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest
from matplotlib import pyplot

from kdfeatures.analysis.html_page import write_page
from kdfeatures.runs.results import markdown

HOSTILE = [
    "</script><script>window.ran = 1</script>",
    "<img src=x onerror='window.ran = 1'>",
    '"><svg onload="window.ran = 1">',
    "<!-- @@DATA@@ -->",
    "\x1b[31mred\x1b[0m\x07\x00",
    "a | b\nc",
]


class _Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_data(self, data):
        self.text.append(data)


def page(folder, text):
    pyplot.imsave(folder / "layers.png", [[0.0, 1.0]])
    write_page(
        folder / "page.html",
        title=f"title {text}",
        facts={f"name {text}": f"fact {text}"},
        layers=(folder / "layers.png", f"picture {text}"),
        summary=[{f"head {text}": f"cell {text}", "b": text, "c": text}],
        data={"sentences": [{"tokens": [text]}]},
        footer=f"footer {text}",
    )
    raw = (folder / "page.html").read_bytes().decode()
    parsed = _Tags()
    parsed.feed(raw)
    return raw, parsed


@pytest.mark.parametrize("text", HOSTILE)
def test_the_page_has_the_same_tags_whatever_its_texts_are(tmp_path, text):
    _, plain = page(tmp_path, "harmless")
    raw, hostile = page(tmp_path, text)
    assert hostile.tags == plain.tags and hostile.attributes == plain.attributes
    assert not any(name.startswith("on") for name in hostile.attributes)
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", raw)


@pytest.mark.parametrize("text", HOSTILE)
def test_the_data_of_the_page_are_the_texts_themselves(tmp_path, text):
    raw, _ = page(tmp_path, text)
    (found,) = re.findall(r"<script[^>]*application/json[^>]*>(.*?)</script>", raw, flags=re.S)
    assert json.loads(found)["sentences"] == [{"tokens": [text]}]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_table_keeps_its_cells_and_shows_no_markup(text):
    table = markdown([{"model": text, "task": "x"}, {"model": "b", "task": "y"}])
    lines = table.split("\n")
    assert len(lines) == 4 and all(len(re.findall(r"(?<!\\)\|", line)) == 3 for line in lines)
    assert "<" not in table and not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", table)
