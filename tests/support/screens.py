"""What a page must keep on every screen: its width, colours that can be read, texts of others as texts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.browser import Page

SCREENS = [(1366, 768, False), (1366, 768, True), (390, 844, False), (390, 844, True)]  # width, height, dark
NAMES = ["laptop, light", "laptop, dark", "phone, light", "phone, dark"]

# of every element that has text of its own: the contrast with what it stands on, as WCAG 2 has it
_FAINT = """(() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = numbers(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0.99) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.body.querySelectorAll('*')) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    const isSeen = element.getClientRects().length && !element.matches('script, style, noscript, title');
    if (!own || !isSeen) continue;
    const style = getComputedStyle(element);
    const ink = numbers(element.tagName === 'text' ? style.fill : style.color);
    const [one, other] = [light(ink), light(ground(element))];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < LEAST) found.push(`${element.tagName} ${element.getAttribute('class')}: ${ratio.toFixed(2)}`);
  }
  return found;
})()"""


@contextmanager
def on_screen(page: Page, path: Path, screen: tuple[int, int, bool]) -> Iterator[tuple[Page, int, bool]]:
    """Open a page on one of SCREENS, and give it with the width and whether it is dark; then `check_screen`."""
    width, height, dark = screen
    page.complaints.clear()
    page.requests.clear()
    page.open(path, width=width, height=height, dark=dark)
    yield page, width, dark
    check_screen(page, dark=dark)


def faint_texts(page: Page, least: float = 4.5) -> list[str]:
    """Return the elements whose text has less contrast with its ground than WCAG's level AA asks for."""
    return page.run(_FAINT.replace("LEAST", str(least)))


def ground(page: Page) -> list[int]:
    """Return the colour of the page, red, green and blue."""
    return page.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")


def too_wide(page: Page) -> list[str]:
    """Return what makes the document wider than the window: nothing where it fits."""
    return page.run("""document.documentElement.scrollWidth <= document.documentElement.clientWidth ? [] :
      [...document.querySelectorAll('body *')].filter((element) => element.getBoundingClientRect().right > innerWidth)
      .map((element) => `${element.tagName} ${element.className}`)""")


def check_screen(page: Page, *, dark: bool) -> None:
    """Assert that the page fits, can be read, has the ground that was asked for, and loads and reports nothing."""
    assert too_wide(page) == []
    assert faint_texts(page) == []
    assert (max(ground(page)) < 64) if dark else (min(ground(page)) > 240)
    assert page.complaints == []
    assert [url for url in page.requests if not url.startswith(("data:", "file:"))] == []
