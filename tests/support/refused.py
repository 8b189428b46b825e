"""What a core class refuses, in its own words and in those of the command line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from kdfeatures.config.option_errors import option_line
from kdfeatures.errors import ConfigError


@contextmanager
def refused_as(told: str, at: str | None, told_of_option: str) -> Iterator[None]:
    """Expect a ConfigError that matches `told`, and whose line for the option `at` matches `told_of_option`."""
    with pytest.raises(ConfigError, match=told) as caught:
        yield
    line = option_line(caught.value, at)
    assert re.search(told_of_option, line), line
