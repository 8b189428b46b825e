"""The recipes of conf/recipe as objects: what `kdfeatures.recipe` returns."""

from __future__ import annotations

from kdfeatures.config.compose import composed
from kdfeatures.config.objective import objective_of
from kdfeatures.config.paths import conf_dir
from kdfeatures.config.terms.auto import AUTO
from kdfeatures.distillation.recipe import Recipe
from kdfeatures.errors import ConfigError
from kdfeatures.runs.stage_configs import stage_config


def recipe_names() -> list[str]:
    """Return the names of all recipes.

    >>> "tinybert" in recipe_names()
    True
    """
    return sorted(path.stem for path in (conf_dir() / "recipe").glob("*.yaml"))


def recipe(name: str) -> Recipe:
    """Return the terms of a published method, stage by stage, as conf/recipe/NAME.yaml has them.

    Args:
        name: one of `recipe_names()`, such as "tinybert", "minilmv2" or "pkd".

    Raises:
        UserError: for a name that is unknown, with the nearest one.
        ConfigError: for "auto", whose terms follow from the models of a run.

    >>> recipe("tinybert")
    Recipe('tinybert')
      intermediate: hidden, attention
      prediction: logits
    >>> recipe("pkd").terms["patience"].weight
    100.0
    """
    if name == AUTO:
        raise ConfigError(
            "has the terms that fit the models of a run, so it is none without them",
            argument="recipe",
            value=name,
            hint=f'let kdfeatures.distill(recipe="{AUTO}") choose them',
        )
    config = composed("distill", None, choices={"recipe": name}, values={})
    stages = config["stages"] or {"": {}}
    return Recipe(name, {stage: objective_of(stage_config(config, node)) for stage, node in stages.items()})
