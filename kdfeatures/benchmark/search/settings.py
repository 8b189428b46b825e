"""What a search chooses from and how many trials it makes, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from kdfeatures.benchmark.search.space import Choice, read_space
from kdfeatures.config.schema import NODE as Section
from kdfeatures.config.schema import section
from kdfeatures.errors import UserError
from kdfeatures.ranges import MAX_COUNT, Count, Range


@dataclass(frozen=True)
class SearchOptions:
    """What stands below `search`, as it is given."""

    trials: Annotated[int, Count]
    random: Annotated[int, Range(0, MAX_COUNT)]
    reduction: Annotated[int | None, Range(2, 100)]
    space: Section


@dataclass(frozen=True)
class SearchSettings:
    """The options below `search`, and what is chosen, by name."""

    trials: int
    random: int
    reduction: int | None
    space: Mapping[str, Choice]

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> SearchSettings:
        """Return the settings of a composed conf/search.yaml; raises UserError for values that cannot be."""
        given = section(config, "search", SearchOptions)
        if not given.space:
            raise UserError("search.space is empty, so there is nothing to choose; name at least one option.")
        return cls(given.trials, given.random, given.reduction, read_space(given.space))


def check_tasks(tasks: list[str]) -> None:
    """Raise UserError for more tasks than one."""
    if len(tasks) != 1:
        raise UserError(f"tasks={tasks}: a search is of one task; make one for each.")
