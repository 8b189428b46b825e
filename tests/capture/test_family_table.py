from pathlib import Path

import pytest
from support.family_table import HEADER, USES, described, largest_difference, refused, uses

from kdfeatures.capture.families import FAMILIES

PAGE = (Path(__file__).parents[2] / "docs" / "capture.md").read_text(encoding="utf-8").splitlines()


def rows(header=HEADER):
    start = PAGE.index(header[0]) + len(header)
    return PAGE[start : PAGE.index("", start)]


def test_the_readme_lists_every_family_of_the_code_and_no_other():
    told = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows() if row not in refused()]
    assert [cells[:4] for cells in told] == [described(family) for family in FAMILIES]
    assert all(float(cells[4]) <= 1e-5 for cells in told)


def test_the_readme_lists_what_is_refused_and_why():
    assert rows()[len(FAMILIES) :] == refused()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_differences_are_as_small_as_the_readme_says(family):
    told = next(float(row.split("|")[-2]) for row in rows() if row.startswith(f"| {family} |"))
    assert largest_difference(family) <= max(4 * told, 1e-6)  # another processor rounds otherwise


def test_the_page_says_what_can_be_done_with_every_family():
    told = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows(USES)]
    assert [cells[:5] for cells in told] == [uses(family) for family in FAMILIES]
    # measured by the script; some of them in tests/models/export
    assert {cells[0] for cells in told if cells[5] != "yes"} == {"funnel"}
