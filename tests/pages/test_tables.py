from html.parser import HTMLParser

from kdfeatures.pages.tables import Cell, table_html


class Cells(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.numbers, self.buttons = [], 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag in ("td", "th") and ("scope", "col") not in attrs:
            self.numbers.append(dict(attrs).get("data-number"))
        self.buttons += tag == "button"


def test_numbers_as_text_are_sorted_by_the_one_they_begin_with_and_words_by_themselves():
    rows = [{"arm": "4 x 64", "score": "84.1/78.9 ± 0.3", "gain": "+1.5 [-0.2, +2.0]", "to": Cell("baseline", 0.0)}]
    assert Cells(table_html(rows, caption="c")).numbers == [None, "84.1", "1.5", "0.0"]
    assert (
        Cells(table_html([{"arm": "a", "score": "", "gain": Cell("x", float("nan"))}], caption="c")).numbers
        == [None] * 3
    )


def test_only_what_can_be_sorted_has_a_button():
    rows = [{"arm": "a", "links": Cell("", more="<a>1</a>"), "n": Cell("", 2.0)}]
    assert Cells(table_html(rows, caption="c")).buttons == 2
    assert Cells(table_html(rows, caption="c", sortable=False)).buttons == 0


def test_names_are_no_markup():
    table = table_html([{"<b>": "<i>", "x": Cell("<u>", more="<a>")}], caption="<em>")
    assert not any(mark in table for mark in ("<b>", "<i>", "<u>", "<em>")) and "<a>" in table
