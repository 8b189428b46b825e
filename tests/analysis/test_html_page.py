"""The page in a real browser, at the width of a laptop."""

import pytest
from PIL import Image, ImageChops
from support.browser import chromium
from support.inspected import inspect_call, save_encoders

from kdfeatures.cli.main import main

LONG = "the dogs that the cats near the dog saw slept" + " and the cat slept" * 12


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium() as tab:  # first, so that nothing is made where no browser is
        folder = save_encoders(tmp_path_factory.mktemp("page"))
        main(inspect_call(folder, "made", f"before.path={folder / 'before'}", f"inspect.texts=[{LONG}]"))
        yield tab, folder / "made" / "index.html"


@pytest.fixture
def fresh(browser):
    """The page as it is when it has just been opened, with nothing complained of when a test ends."""
    page, path = browser
    page.complaints.clear()
    page.requests.clear()
    page.open(path, width=1280, height=800)
    yield page
    page.run("0")  # what was said before its answer has then been heard
    assert page.complaints == []
    assert [url for url in page.requests if not url.startswith(("data:", "file:"))] == []


def choose(page, name, index):
    page.run(f"at('{name}').selectedIndex = {index}; at('{name}').dispatchEvent(new Event('change'))")


def drawn(page):
    return [page.run(f"at('{side}').toDataURL()") for side in ("teacher", "student")]


def chosen(page, name):
    return page.run(f"at('{name}').selectedOptions[0].textContent")


def test_an_error_in_the_page_would_be_noticed(browser):
    page, path = browser
    page.open(path, width=1280, height=800)
    page.complaints.clear()
    page.run("console.error('one'); new Image().src = 'https://example.org/two.png'; setTimeout(() => three, 0)")
    page.run("new Promise((done) => setTimeout(done, 300))")
    assert len(page.complaints) == 3
    page.complaints.clear()


def test_every_choice_changes_what_is_shown(fresh):
    assert fresh.run("[...document.querySelectorAll('select')].map((s) => s.options.length)") == [2, 2, 2, 3, 3]
    for name in ("layers", "heads", "sentence"):
        before = drawn(fresh)
        choose(fresh, name, 1)
        assert all(old != new for old, new in zip(before, drawn(fresh), strict=True)), name
    for name in ("layers", "measure"):
        before = fresh.run("[at('matrix').src, at('matrix').alt]")
        choose(fresh, name, 0 if name == "layers" else 1)
        assert all(
            old != new for old, new in zip(before, fresh.run("[at('matrix').src, at('matrix').alt]"), strict=True)
        )
    assert "cka" in fresh.run("at('pairs-caption').textContent")
    assert chosen(fresh, "heads").startswith("student 1, teacher ")


def test_tables_and_titles_say_what_is_chosen(fresh):
    choose(fresh, "layers", 1)
    rows = fresh.run("[...at('pairs').tBodies[0].rows].map((row) => [...row.cells].map((c) => c.textContent))")
    assert [row[0] for row in rows] == ["0", "1"] and all(len(row) == 7 for row in rows)
    assert "teacher heads" in fresh.run("at('unmatched').textContent")
    assert fresh.run("at('teacher-title').textContent") == f"Teacher, layer 4, head {rows[0][1]}"
    tokens = fresh.run("data.sentences[0].tokens")
    words = fresh.run("[...at('words').tBodies[0].rows].map((row) => row.cells[0].textContent)")
    assert words == tokens


def test_the_keyboard_reaches_the_choices_and_every_cell(fresh):
    seen = []
    for _ in range(9):
        fresh.press("Tab")
        seen.append(fresh.run("document.activeElement.id || document.activeElement.tagName"))
    assert seen[:8] == ["layers", "measure", "heads", "sentence", "zoom", "teacher", "student", "SUMMARY"]
    fresh.run("at('layers').focus()")
    before = chosen(fresh, "layers")
    fresh.press("ArrowDown")
    assert chosen(fresh, "layers") != before
    fresh.run("at('teacher').focus()")
    pictures, told = drawn(fresh), fresh.run("at('readout').textContent")
    fresh.press("ArrowRight")
    assert all(old != new for old, new in zip(pictures, drawn(fresh), strict=True))
    second = fresh.run("data.sentences[0].tokens[1]")
    assert fresh.run("at('readout').textContent") != told
    assert f"attends to “{second}” with 0." in fresh.run("at('readout').textContent")


def test_the_readout_is_the_probability_of_the_cell(fresh):
    choose(fresh, "sentence", 1)
    sums = fresh.run("""data.sentences[1].tokens.slice(0, 3).map((_, row) => shown.tokens.reduce((sum, _, column) => {
        move(row, column);
        return sum + Number(at('readout').textContent.match(/with (\\S+) in the teacher/)[1]);
    }, 0))""")
    assert sums == pytest.approx([1, 1, 1], abs=0.05)


def test_everything_is_labelled_and_fits_a_laptop_also_with_a_long_text(fresh, tmp_path):
    assert fresh.run("[...document.querySelectorAll('select')].every((s) => s.labels.length === 1)")
    assert fresh.run("[...document.images].every((i) => i.alt.length > 40 && i.naturalWidth > 0)")
    assert fresh.run("[...document.querySelectorAll('canvas[role=img]')].every((c) => c.ariaLabel.length > 20)")
    for sentence in (0, 1):
        choose(fresh, "sentence", sentence)
        assert fresh.run("document.documentElement.scrollWidth <= innerWidth")
        beside = fresh.run("at('teacher').getBoundingClientRect().top === at('student').getBoundingClientRect().top")
        assert beside
        assert fresh.run("shown.size") >= 11
        fresh.screenshot(tmp_path / f"{sentence}.png")
    first, second = (Image.open(tmp_path / f"{n}.png").convert("RGB") for n in (0, 1))
    assert first.width == second.width > 1200 and first.height > second.height > 800
    assert ImageChops.difference(first.crop(second.getbbox()), second).getbbox() is not None
    assert len(second.getcolors(1 << 24)) > 200  # the maps are there
