"""Runs in processes of their own: results and what is printed in the order of the calls, errors as they were."""

import os
import sys
import time

import pytest
import torch

from kdfeatures.cli.side_by_side import side_by_side
from kdfeatures.errors import ConfigError, UserError


def slow_first(number):
    time.sleep(0.5 if number == 0 else 0)
    print(f"run {number}")
    print("a bar", file=sys.stderr)
    return {"number": number, "process": os.getpid(), "threads": torch.get_num_threads()}


def refused(number):
    if number:
        raise ConfigError("is unknown", argument="recipe", value=number, hint="choose another", section="losses")
    return {"number": number}


def calls(run, **settings):
    return side_by_side(run, [(number,) for number in range(3)], **settings)


@pytest.mark.parametrize("processes", [1, 2])
def test_results_and_prints_come_in_the_order_of_the_calls(processes, capfd):
    results = list(calls(slow_first, processes=processes, threads=1))
    assert [result["number"] for result in results] == [0, 1, 2]
    assert {result["threads"] for result in results} == {1}
    assert ({result["process"] for result in results} == {os.getpid()}) == (processes == 1)
    out, err = capfd.readouterr()
    assert out == "run 0\nrun 1\nrun 2\n"
    assert ("a bar" in err) == (processes == 1)


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_comes_as_the_line_it_is(processes):
    with pytest.raises(UserError, match=r"recipe=[12] is unknown; choose another"):
        list(calls(refused, processes=processes, threads=1))
