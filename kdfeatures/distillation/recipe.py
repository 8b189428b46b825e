"""A recipe: the objectives of a published method, stage by stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kdfeatures.distillation.objective import Objective, as_term
from kdfeatures.distillation.term import Term
from kdfeatures.errors import ConfigError, nearest


class Recipe(Mapping[str, Objective]):
    """A method's objectives by the names of its stages, in their order; "" is the name of a recipe's only stage.

    Args:
        name: what it is called.
        stages: {stage: Objective}.
        changes: {term: what replaced it, None for a term left out}; `replace` notes them.

    A recipe of one stage stands wherever an Objective does, and its terms are `recipe.terms`. Those in stages train
    one after the other: `kdfeatures.distill(recipe=...)` does so, and a Trainer takes one of them, `recipe["stage"]`.

    >>> from kdfeatures import losses
    >>> recipe = Recipe("mine", {"": Objective(logits=losses.LogitKD())})
    >>> list(recipe.terms), recipe.objective.terms["logits"].weight
    (['logits'], 1.0)
    """

    def __init__(
        self, name: str, stages: Mapping[str, Objective], changes: Mapping[str, Term | None] | None = None
    ) -> None:
        self.name = name
        self._stages = dict(stages)
        self.changes = dict(changes or {})

    def __getitem__(self, stage: str) -> Objective:
        return self._stages[stage]

    def __iter__(self) -> Iterator[str]:
        return iter(self._stages)

    def __len__(self) -> int:
        return len(self._stages)

    def __repr__(self) -> str:
        stages = "".join(f"\n  {name or 'only stage'}: {', '.join(part.terms)}" for name, part in self._stages.items())
        return f"Recipe({self.name!r}){stages}"

    @property
    def objective(self) -> Objective:
        """The objective of a recipe of one stage; raises ConfigError for one of several."""
        if len(self) > 1:
            first = next(iter(self))
            raise ConfigError(
                f"the recipe '{self.name}' trains in the stages {', '.join(self)}, one after the other",
                hint=f"take one of them, such as recipe['{first}'], or let kdfeatures.distill run all",
            )
        return next(iter(self._stages.values()))

    @property
    def terms(self) -> Mapping[str, Term]:
        """The terms of a recipe of one stage."""
        return self.objective.terms

    def replace(self, **terms: Any) -> Recipe:
        """Return the recipe with terms changed, added, or left out where they are None, in every stage that has them.

        A term that no stage has is added to a recipe of one stage.
        """
        new = [name for name in terms if not any(name in objective.terms for objective in self.values())]
        for name in new:
            if terms[name] is None:
                known = dict.fromkeys(term for objective in self.values() for term in objective.terms)
                raise ConfigError(
                    f"the recipe '{self.name}' has no term '{name}' to leave out{nearest(name, known)}",
                    hint=f"it has {', '.join(known)}",
                )
        if new and len(self) > 1:
            raise ConfigError(
                f"no stage of the recipe '{self.name}' has a term '{new[0]}'",
                hint=f"add it to one of them, such as recipe['{next(iter(self))}'].replace({new[0]}=...)",
            )
        changed = {name: as_term(name, term) for name, term in terms.items() if term is not None}
        changes: dict[str, Term | None] = {name: changed.get(name) for name in terms}
        stages = {
            stage: objective.replace(
                **{name: term for name, term in changes.items() if name in objective.terms or name in new}
            )
            for stage, objective in self.items()
        }
        return Recipe(self.name, stages, {**self.changes, **changes})


def single_objective(given: Objective | Recipe) -> Objective:
    """Return an objective, or that of a recipe of one stage."""
    return given.objective if isinstance(given, Recipe) else given
