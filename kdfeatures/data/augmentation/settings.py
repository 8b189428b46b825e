"""How texts are altered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from kdfeatures.errors import ConfigError
from kdfeatures.ranges import Count, Range


@dataclass(frozen=True)
class AugmentationSettings:
    """Settings of TinyBERT's augmentation (arXiv:1909.10351, algorithm 1).

    Args:
        copies: of each example, at most.
        probability: for each word to be replaced by one of its `candidates`.
        mlm: folder or Hub id of a masked language model; None replaces by neighbours only.
        vectors: a file of word vectors; None takes the teacher's embeddings.

    Raises:
        ConfigError: for numbers that make no sense.
    """

    copies: Annotated[int, Count] = 20
    probability: Annotated[float, Range(0, 1, above=True)] = 0.4
    candidates: Annotated[int, Count] = 15
    mlm: str | None = None
    vectors: str | None = None

    def __post_init__(self) -> None:
        for name, is_right, requirement in (
            ("copies", self.copies >= 1, "a whole number from 1"),
            ("candidates", self.candidates >= 1, "a whole number from 1"),
            ("probability", 0 < self.probability <= 1, "above 0 and at most 1"),
        ):
            if not is_right:
                key = "augmentation.copies" if name == "copies" else None
                raise ConfigError(f"must be {requirement}", argument=name, value=getattr(self, name), key=key)
