"""What a card tells of a model's origins: the licences of its pretrained models, and the trials behind its settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

from kdfeatures.errors import UserError
from kdfeatures.hub.models import cached_card
from kdfeatures.runs.arms import folder_of_arm
from kdfeatures.runs.results import read_results

GRIDS = ("glue", "search")  # commands whose results.json counts trials
ABOVE = 6  # folders between a run and that of its grid, at most


def licences(models: Iterable[str]) -> dict[str, str | None]:
    """Return the licence that each model's card in the local cache names; None where there is none, or no card."""
    return {name: _licence(cached_card(name)) for name in models}


def licences_text(known: Mapping[str, str | None]) -> str:
    """Return a sentence on the pretrained models and their licences."""
    parts = [f"`{name}` ({licence or 'licence not known here'})" for name, licence in known.items()]
    return f"Pretrained models that it comes from, with the licence that their cards name: {', '.join(parts)}."


def trials_of(folder: Path, results: Mapping[str, Any]) -> int | None:
    """Return how many trials chose the settings of the run in `folder`, as the grid or search above it says.

    None where no finished grid is above it.
    """
    rate = results["config"]["trainer"]["learning_rate"]
    for above in list(folder.absolute().parents)[:ABOVE]:
        try:
            grid = read_results(above)
        except UserError:
            continue
        if grid.get("command") not in GRIDS:
            continue
        arm = folder.absolute().parent.parent.name
        for row in grid.get("rows") or []:
            if (
                folder_of_arm(str(row.get("arm"))) == arm
                and row.get("task") == results["config"]["task"]["name"]
                and row.get("learning_rate") == rate
            ):
                return row.get("trials")
    return None


def trials_text(trials: int | None) -> str:
    """Return a sentence on how the learning rate was found."""
    if trials is None:
        return "How many others were tried before the learning rate was set, is not known here."
    if trials <= 1:
        return "The learning rate was not searched for."
    return f"The learning rate is the best of {trials} trials, which were scored on held-out training examples."


def _licence(card: str | None) -> str | None:
    if card is None:
        return None
    try:
        named = ModelCard(card, ignore_metadata_errors=True).data.to_dict().get("license")
    except Exception:  # whatever is wrong with the front matter of someone's card
        return None
    return named if isinstance(named, str) and named != "unknown" else None
