"""Runs side by side, each process on its own threads; what they print is shown run by run, in their order."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import joblib

from kdfeatures.cli.spoken import quiet_libraries
from kdfeatures.config.option_errors import option_line
from kdfeatures.errors import UserError
from kdfeatures.runtime.threads import torch_threads


def at_a_time(runs: int, processes: int | None) -> int:
    """Return how many of so many runs are run at a time; processes: how many may be, None: one a core."""
    return min(runs, joblib.cpu_count() if processes is None else processes)


def side_by_side(
    run: Callable[..., dict[str, Any]], calls: Sequence[tuple[Any, ...]], *, processes: int | None, threads: int | None
) -> Iterator[dict[str, Any]]:
    """Yield what run(*call) returns for each call, in their order, as soon as it and those before it have ended.

    processes: see at_a_time; with one, all run in this process. threads: of torch in each;
    None as torch has it. Raises what a run raises as soon as it does, and stops the others.
    """
    count = at_a_time(len(calls), processes)
    if count <= 1:
        with torch_threads(threads):
            for call in calls:
                yield run(*call)
        return
    with joblib.parallel_config(backend="loky", inner_max_num_threads=threads):
        parallel = joblib.Parallel(n_jobs=count, return_as="generator", batch_size=1)
        heard = parallel(joblib.delayed(_heard)(run, call, threads) for call in calls)
        try:
            for printed, result in heard:
                print(printed, end="", flush=True)
                yield result
        finally:
            heard.close()  # stops what still runs


def _heard(
    run: Callable[..., dict[str, Any]], call: tuple[Any, ...], threads: int | None
) -> tuple[str, dict[str, Any]]:
    """Return what a run prints and returns."""
    printed, bars = io.StringIO(), io.StringIO()  # bars of several runs would be drawn over one another
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(bars), torch_threads(threads):
        logging.basicConfig(stream=printed, format="%(message)s", level=logging.INFO, force=True)
        quiet_libraries()
        try:
            result = run(*call)
        except UserError as error:  # a subclass may not come through to the other process as it is
            raise UserError(option_line(error)) from None
    return printed.getvalue(), result
