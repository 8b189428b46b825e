"""What an inspection compares and shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from kdfeatures.alignment.hungarian import HEAD_MEASURES
from kdfeatures.errors import UserError, nearest
from kdfeatures.ranges import MAX_COUNT, Count, Positive, Range, check_values


@dataclass(frozen=True)
class InspectSettings:
    """measures: of heads. examples, batch_size: what these are measured on.

    sentences, sentence_tokens: how many examples the page shows, and the longest of them. texts: the user's own, each a
    string or a list of two. Raises UserError for measures that are unknown and numbers that are too small.
    """

    measures: list[str] = field(default_factory=lambda: list(HEAD_MEASURES))
    examples: Annotated[int, Range(4, MAX_COUNT)] = 128
    batch_size: Annotated[int, Range(2, MAX_COUNT)] = 8
    sentences: Annotated[int, Range(0, MAX_COUNT)] = 6
    sentence_tokens: Annotated[int, Count] = 40
    texts: list[Any] = field(default_factory=list)
    max_page_mib: Annotated[float, Positive] = 24.0

    def __post_init__(self) -> None:
        for name in self.measures:
            if name not in HEAD_MEASURES:
                known = ", ".join(HEAD_MEASURES)
                raise UserError(f"inspect.measures holds {name}{nearest(name, HEAD_MEASURES)}; choose from {known}.")
        if not self.measures or len(set(self.measures)) < len(self.measures):
            raise UserError(f"inspect.measures={self.measures} must name one measure or more, each once.")
        check_values(vars(self), InspectSettings)
        if not self.sentences and not self.texts:
            raise UserError("inspect.sentences=0 and no inspect.texts leave no sentence to show; ask for one.")
