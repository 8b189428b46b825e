"""Texts, labels and names that are markup, or that a terminal would act on, are shown as they are."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest
from matplotlib import pyplot
from support.browser import chromium
from support.inspected import inspect_call, save_encoder
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from kdfeatures.analysis.html_page import Picture, write_page
from kdfeatures.cli.main import main
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
    picture = (folder / "layers.png").read_bytes()
    write_page(
        folder / "page.html",
        title=f"title {text}",
        facts={f"name {text}": f"fact {text}"},
        layers=Picture.of(picture, picture, f"picture {text}"),
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


# what runs in a page that takes them for markup; without spaces, so that each is a token
TOKENS = [
    '<img/src="x"onerror="window.ran=1">',
    "<svg/onload=window.ran=1>",
    "</script><script>window.ran=1</script>",
    '"><script>window.ran=1</script>',
    "javascript:window.ran=1",
    "&lt;b&gt;",
    "{{7*7}}${7*7}",
]


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory):
    """What `kdfeatures inspect` made of such texts, by models whose tokens and folders are such, in a browser."""
    with chromium() as tab:
        folder = tmp_path_factory.mktemp("page")
        backend = Tokenizer(
            models.WordLevel({word: id_ for id_, word in enumerate(["[PAD]", "[UNK]", *TOKENS])}, "[UNK]")
        )
        backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        words = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]")
        names = {side: f"{side} <img src=x onerror=window.ran=1>" for side in ("teacher", "student")}
        for side, name in names.items():
            layers, width = (4, 32) if side == "teacher" else (2, 16)
            save_encoder(folder / name, words, layers=layers, width=width, heads=width // 8)
        texts = [" ".join(TOKENS), " ".join(reversed(TOKENS))]
        quoted = ",".join("'" + text.replace("$", "\\$") + "'" for text in texts)
        paths = [f"{side}.path='{folder / name}'" for side, name in names.items()]
        main([*inspect_call(folder, "made", f"inspect.texts=[{quoted}]"), *paths])
        tab.open(folder / "made" / "index.html", width=1280, height=800)
        yield tab


def test_nothing_of_a_hostile_text_runs_in_a_browser_however_it_is_clicked_through(hostile_page):
    hostile_page.run("""[...document.querySelectorAll('select')].forEach((select) => [...select].forEach((_, i) => {
        select.selectedIndex = i; select.dispatchEvent(new Event('change'));
        data.sentences[0].tokens.forEach((_, row) => move(row, row));
    }))""")
    hostile_page.run("new Promise((done) => setTimeout(done, 300))")
    assert hostile_page.run("window.ran") is None
    assert hostile_page.complaints == []
    assert [url for url in hostile_page.requests if not url.startswith(("data:", "file:"))] == []
    assert hostile_page.run("document.querySelectorAll('[onerror], [onload], svg').length") == 0
    tokens = hostile_page.run("data.sentences.map((sentence) => sentence.tokens)")
    assert TOKENS in tokens and TOKENS[::-1] in tokens
    shown = hostile_page.run("[...at('words').tBodies[0].rows].map((row) => row.cells[0].textContent)")
    assert shown in tokens


def test_a_page_that_ran_them_would_be_noticed(hostile_page):
    hostile_page.run("document.body.insertAdjacentHTML('beforeend', data.sentences[0].tokens.join(' '))")
    hostile_page.run("new Promise((done) => setTimeout(done, 300))")
    assert hostile_page.run("window.ran") == 1
