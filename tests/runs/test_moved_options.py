"""Configs that older versions saved, read with what came later."""

import pytest

from kdfeatures.runs.moved_options import ADDED, current_config


@pytest.mark.parametrize(("section", "beside"), ADDED)
def test_a_section_of_an_older_version_gets_what_a_run_without_it_did(section, beside):
    added = ADDED[section, beside]
    assert current_config({section: {beside: 1}})[section] == {beside: 1} | added
    own = dict.fromkeys(added, "mine")
    assert current_config({section: {beside: 1} | own})[section] == {beside: 1} | own
    assert current_config({section: {"path": None}})[section] == {"path": None}
    staged = current_config({"stages": {"first": {section: {beside: 1}}}})["stages"]["first"][section]
    assert staged == {beside: 1} | added
