"""The page of inspect on a laptop and on a phone, light and dark, with long texts and scripts that fonts may lack."""

import pytest
from support.browser import chromium
from support.inspected import inspect_call, save_encoder
from support.screens import NAMES, SCREENS, faint_texts, on_screen, too_wide
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from kdfeatures.cli.main import main

SCRIPTS = ["القاهرة", "東京都", "नमस्ते", "Ελλάδα", "ሰላም", "ᐃᓄᒃᑎᑐᑦ", "🙂", "𓀀", "\U0010fffd", "W" * 80]
PAIR = ["The Cat SAT", "no Dog did"]
LONG = " ".join(f"word{number}" for number in range(56))
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def lowering_tokenizer(words):
    vocabulary = {word: id_ for id_, word in enumerate([*SPECIAL, *dict.fromkeys(word.lower() for word in words)])}
    backend = Tokenizer(models.WordLevel(vocabulary, "[UNK]"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    named = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), SPECIAL, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=backend, **named)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with chromium() as tab:
        folder = tmp_path_factory.mktemp("screens")
        words = lowering_tokenizer([*SCRIPTS, *" ".join([*PAIR, LONG]).split()])
        for side, layers, width in (("teacher", 4, 96), ("student", 2, 96)):
            save_encoder(folder / side, words, layers=layers, width=width, heads=12, positions=80)
        texts = [f"[{','.join(PAIR)}]", LONG, f"'{' '.join(SCRIPTS)}'"]
        # of 12 heads a picture takes a second
        few = ["before.path=null", "mapping=final"]
        main(inspect_call(folder, "made", *few, f"inspect.texts=[{','.join(texts)}]"))
        yield tab, folder / "made" / "index.html"


@pytest.fixture(params=SCREENS, ids=NAMES)
def screen(made, request):
    with on_screen(*made, request.param) as shown:
        yield shown


def choose(page, name, index):
    page.run(f"at('{name}').selectedIndex = {index}; at('{name}').dispatchEvent(new Event('change'))")


def test_the_document_is_no_wider_than_the_screen_whatever_is_shown(screen):
    page, width, _ = screen
    page.run("document.querySelector('details').open = true")
    for sentence in range(3):
        for zoom in range(3):
            choose(page, "sentence", sentence)
            choose(page, "zoom", zoom)
            assert too_wide(page) == []
    if width == 390:  # what is wider scrolls in a box of its own
        assert page.run("[...document.querySelectorAll('.scroll')].some((box) => box.scrollWidth > box.clientWidth)")


def test_too_wide_and_faint_things_would_be_noticed(screen):
    page, _, dark = screen
    page.run("document.body.insertAdjacentHTML('beforeend', '<div id=wide style=\"width:3000px\">x</div>')")
    assert "DIV " in too_wide(page)
    page.run("document.getElementById('wide').remove()")
    page.run(f"document.body.insertAdjacentHTML('beforeend', '<p id=f style=color:#{'222' if dark else 'eee'}>x</p>')")
    assert len(faint_texts(page)) == 1
    page.run("document.getElementById('f').remove()")


def test_the_bar_is_small_and_stays_in_sight(screen):
    page, width, _ = screen
    page.run("at('zoom').scrollIntoView({ block: 'center' })")
    top, height = page.run(
        "(({ top, height }) => [top, height])(document.querySelector('.controls').getBoundingClientRect())"
    )
    assert top == 0 and height < 80


def test_the_readout_is_in_sight_wherever_the_maps_are_and_says_what_is_touched(screen):
    page, _, _ = screen
    choose(page, "sentence", 1)
    for side in ("teacher", "student"):
        page.run(f"at('{side}-title').scrollIntoView({{ block: 'center' }})")
        x, y, is_shown = page.run("""(({ left, top, bottom, width }) => [left + width / 2, (top + bottom) / 2,
            top >= 0 && bottom <= innerHeight])(at('readout').getBoundingClientRect())""")
        assert is_shown
        assert page.run(f"document.elementFromPoint({x}, {y}).closest('#readout') !== null")
        before = page.run("at('readout').textContent")
        page.run(f"""at('{side}').dispatchEvent(new PointerEvent('pointerdown', {{ bubbles: true,
            clientX: at('{side}').getBoundingClientRect().left + 3.5 * shown.size,
            clientY: at('{side}').getBoundingClientRect().top + 2.5 * shown.size }}))""")
        said = page.run("at('readout').textContent")
        assert "“word1” attends to “word2” with" in said and (side == "student" or said != before)


def test_maps_of_a_long_text_are_side_by_side_where_there_is_room_and_scroll_together(screen):
    page, width, _ = screen
    choose(page, "sentence", 1)
    choose(page, "zoom", 2)
    tops = page.run("['teacher', 'student'].map((side) => at(side).getBoundingClientRect().top)")
    assert (tops[0] == tops[1]) == (width == 1366)
    page.run("at('teacher-box').scrollLeft = 300; new Promise((done) => setTimeout(done, 200))")
    assert page.run("[at('teacher-box').scrollLeft, at('student-box').scrollLeft]") == [300, 300]
    page.run("move(40, 55); reveal('teacher'); new Promise((done) => setTimeout(done, 200))")
    box, corner = page.run("""[at('teacher-box').getBoundingClientRect(), at('teacher').getBoundingClientRect()].map(
        ({ left, right }) => [left, right])""")
    cell = corner[0] + 55 * page.run("shown.size")
    assert box[0] <= cell and cell + page.run("shown.size") <= box[1] + 1


def test_a_whole_map_fits_its_place_at_the_smallest_zoom(screen):
    page, _, _ = screen
    choose(page, "sentence", 1)
    choose(page, "zoom", 0)
    fits = page.run("at('teacher-box').scrollWidth <= at('teacher-box').clientWidth")
    assert fits and page.run("shown.size") < 11
    choose(page, "zoom", 1)
    assert page.run("shown.size") >= 11


def test_tokens_of_any_script_have_the_room_they_take(screen):
    page, _, dark = screen
    choose(page, "sentence", 2)
    tokens = page.run("shown.tokens")
    assert [token.lower() for token in SCRIPTS] == tokens[1:-1]
    widths = page.run("""(() => { const pen = at('teacher-beside').getContext('2d');
        return shown.labels.map((label) => pen.measureText(label).width); })()""")
    assert max(widths) <= page.run("shown.margin") - 5 <= 125
    assert page.run("shown.labels.at(-2).endsWith('…')") and not page.run("shown.labels[1].endsWith('…')")
    # all are written, none on another's row, in the colour of the page's text
    inks = page.run("""(() => { const canvas = at('teacher-beside'); const pen = canvas.getContext('2d');
        const whole = pen.getImageData(0, 0, canvas.width, canvas.height).data;
        const row = 4 * canvas.width * shown.size;
        return shown.labels.map((_, number) => {
            const data = whole.slice(number * row, (number + 1) * row);
            const seen = []; for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 200) seen.push(data[i]);
            return seen.length ? seen.reduce((sum, v) => sum + v, 0) / seen.length : null; }); })()""")
    named = [ink for ink, token in zip(inks, tokens, strict=True) if token != "🙂"]
    assert None not in named and all((ink > 150) if dark else (ink < 100) for ink in named)


def test_texts_are_shown_as_written_and_pairs_with_a_separator(screen):
    page, _, _ = screen
    choose(page, "sentence", 0)
    assert page.run("at('sentence').selectedOptions[0].textContent") == " | ".join(PAIR)
    assert page.run("[...at('text').querySelectorAll('bdi')].map((part) => part.textContent)") == PAIR
    assert page.run("at('text').textContent") == " | ".join(PAIR)
    assert page.run("shown.tokens")[:4] == ["[CLS]", "the", "cat", "sat"]


def test_pictures_are_those_for_the_ground_they_stand_on(screen):
    page, _, dark = screen
    assert page.run("[...document.images].every((image) => image.complete && image.naturalWidth > 1000)")
    corners = page.run("""Promise.all([...document.images].map(async (image) => {
        await image.decode(); const canvas = document.createElement('canvas'); const pen = canvas.getContext('2d');
        canvas.width = canvas.height = 4; pen.drawImage(image, 0, 0);
        return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3); }))""")
    assert corners == [[0x15, 0x18, 0x1B] if dark else [255, 255, 255]] * 2


def test_the_colours_change_with_the_readers_choice_while_the_page_is_open(screen):
    page, _, dark = screen
    ink = "at('teacher-beside').toDataURL()"
    before = page.run(ink)
    other = {"name": "prefers-color-scheme", "value": "light" if dark else "dark"}
    page.call("Emulation.setEmulatedMedia", features=[other])
    page.run("new Promise((done) => setTimeout(done, 200))")
    assert page.run(ink) != before
    page.call("Emulation.setEmulatedMedia", features=[other | {"value": "dark" if dark else "light"}])
    page.run("new Promise((done) => setTimeout(done, 200))")
    assert page.run(ink) == before
