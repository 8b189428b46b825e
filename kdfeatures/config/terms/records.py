"""How a term made in Python is written into the configuration that results.json keeps: to read, not to make it from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdfeatures.alignment.resolve import PROJECTIONS
from kdfeatures.config.objective import ALTERNATIVES, ConfiguredMap
from kdfeatures.distillation.objective import Objective
from kdfeatures.distillation.schedules import Schedule, schedule_node
from kdfeatures.distillation.term import Term
from kdfeatures.losses.base import FunctionLoss
from kdfeatures.mapping.resolve import LAYER_MAPS


def term_record(term: Term) -> dict[str, Any]:
    """Return a term as a config node says it: its loss's class and plain settings, weight and layers.

    >>> from kdfeatures.losses import HiddenMSE
    >>> record = term_record(Term(HiddenMSE(), layers=[(1, 2)], weight=0.5))
    >>> record["_target_"], record["weight"], record["mapping"]["pairs"]
    ('kdfeatures.losses.HiddenMSE', 0.5, [[1, 2]])
    """
    record = {**_loss(term.loss), "weight": _number(term.weight)}
    if term.temperature is not None:
        record["temperature"] = _number(term.temperature)
    for alternative in ALTERNATIVES:
        if getattr(term, alternative) is not None:
            record[alternative] = _loss(getattr(term, alternative))
    if term.compares_layers:
        record |= {"mapping": _layers(term.layers), "pair_reduction": term.pair_reduction, "teacher": term.teacher}
    return record


def _loss(loss: Any) -> dict[str, Any]:
    if isinstance(loss, FunctionLoss):
        return {"_target_": _qualified_name(loss.function)}
    public = {name: value for name, value in vars(loss).items() if not name.startswith("_") and name != "training"}
    plain = {name: value for name, value in public.items() if isinstance(value, (bool, int, float, str))}
    return {"_target_": _qualified_name(type(loss)), **plain}


def _number(value: float | Schedule) -> Any:
    return schedule_node(value) if isinstance(value, Schedule) else value


def _layers(layers: Any) -> dict[str, Any] | None:
    if layers is None:
        return None
    if isinstance(layers, ConfiguredMap):
        return None if layers.is_of_run else dict(layers.node)
    if isinstance(layers, str):
        return {"_target_": f"kdfeatures.mapping.{LAYER_MAPS[layers].__name__}"}
    if callable(layers):
        return {"_target_": _qualified_name(layers)}
    return {"_target_": "kdfeatures.mapping.explicit", "pairs": [list(pair) for pair in layers]}


def _qualified_name(value: Any) -> str:
    kind = value if hasattr(value, "__qualname__") else type(value)
    module = kind.__module__
    if module.startswith("kdfeatures.losses."):
        module = "kdfeatures.losses"  # from where they are imported
    return f"{module}.{kind.__qualname__}"


def with_objective(config: Mapping[str, Any], objective: Objective) -> dict[str, Any]:
    """Return a run config that says an objective made in Python: its terms, projection, balance and mixup."""
    maker, balance = objective.projection, objective.balance
    name = next((name for name, known in PROJECTIONS.items() if known is maker), None)
    projection = _qualified_name(maker) if name is None else f"kdfeatures.alignment.{name}"
    record = {**config, "projection": {"_target_": projection}}
    if balance is not None:
        settings = ("shares", "every", "momentum", "limit")
        record["balance"] = {key: getattr(balance, key) for key in settings}
    if objective.mixup is not None:
        record["mixup"] = {key: _number(value) for key, value in vars(objective.mixup).items()}
    return with_terms(record, objective.terms)


def with_terms(
    config: Mapping[str, Any], terms: Mapping[str, Term], left_out: Mapping[str, None] | None = None
) -> dict[str, Any]:
    """Return a run config whose losses say these terms, in the run or in those of its stages that have them.

    left_out: names of terms that neither the run nor a stage shall have.
    """
    records = {name: term_record(term) for name, term in terms.items()}
    gone = left_out or {}

    def changed(losses: Mapping[str, Any]) -> dict[str, Any]:
        return {name: records.get(name, node) for name, node in losses.items() if name not in gone}

    stages = {
        name: {**node, "losses": changed(node["losses"])} if "losses" in node else dict(node)
        for name, node in config["stages"].items()
    }
    in_stages = {name for node in stages.values() for name in node.get("losses", {})}
    new = {name: record for name, record in records.items() if name not in in_stages}
    return {**config, "losses": {**changed(config["losses"]), **new}, "stages": stages}
