"""The sections that are off or on: cache, augmentation, balance, mixup."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from kdfeatures.cache.settings import CacheSettings
from kdfeatures.config.option_errors import option
from kdfeatures.config.schema import section, typed
from kdfeatures.data.augmentation.settings import AugmentationSettings
from kdfeatures.data.settings import DataSettings
from kdfeatures.distillation.balancing import GradientBalancer
from kdfeatures.distillation.mixup import Mixup
from kdfeatures.distillation.schedules import read_schedule
from kdfeatures.errors import UserError, nearest
from kdfeatures.tasks.registry import task_type
from kdfeatures.tasks.task import Task


def cache_settings(config: Mapping[str, Any]) -> CacheSettings | None:
    """Return the settings of a run config, None with cache=off; raises UserError for what cannot be used."""
    if config["cache"]["path"] is None:
        if "dtype" in config["cache"]:
            raise UserError("cache.path=null: cache=auto needs a folder; give one, or say cache=off.")
        return None
    if "dtype" not in config["cache"]:
        raise UserError(f"cache.path={config['cache']['path']} has no effect with cache=off; say cache=auto as well.")
    return section(config, "cache", CacheSettings)


def check_cacheable(task: Task, data: DataSettings) -> None:
    """Raise UserError unless a teacher's features for an example hold for every batch that has it."""
    reason = task_type(task).uncacheable(task)
    if reason is not None:
        raise UserError(f"cache=auto keeps features by their inputs, but {reason}.")
    if data.streaming:
        raise UserError("cache=auto looks up all examples before training, which a stream cannot; use cache=off.")


def augmentation_settings(config: Mapping[str, Any]) -> AugmentationSettings | None:
    """Return the settings of a run config, None with augmentation=off; raises UserError for bad ones.

    Texts are altered; lists of words, and text without a task, are not.
    """
    augmentation, task = config["augmentation"], config["task"]
    if "mlm" not in augmentation:
        if augmentation["copies"] != 0:
            raise UserError(f"augmentation.copies={augmentation['copies']} needs augmentation=tinybert.")
        return None
    if task["kind"] != "sequence":
        raise UserError(
            f"augmentation alters the texts of tasks of kind sequence, but task '{task['name']}' is of kind "
            f"{task['kind']}; use augmentation=off."
        )
    return section(config, "augmentation", AugmentationSettings)


def balancer(config: Mapping[str, Any]) -> GradientBalancer | None:
    """Return what balances the weights of a run config, None with balance=off; raises UserError for bad settings."""
    node = config["balance"]
    if "shares" not in node:
        if node["every"] is not None:
            raise UserError(f"balance.every={node['every']} has no effect with balance=off; say balance=shares.")
        return None
    values = typed(node, {"every": int, "momentum": float, "limit": float}, "balance")
    given = values.pop("shares") or {}
    shares = typed(given, dict.fromkeys(given if isinstance(given, Mapping) else (), float), "balance.shares")
    with option("balance"):
        return GradientBalancer(shares, **values)


def mixup_of(config: Mapping[str, Any]) -> Mixup | None:
    """Return how a run config mixes texts, None with mixup=off; raises UserError for bad settings."""
    node = config["mixup"]
    if "consistency" not in node:
        if node["alpha"] is not None:
            raise UserError(f"mixup.alpha={node['alpha']} has no effect with mixup=off; say mixup=embeddings.")
        return None
    scheduled = isinstance(node["consistency"], Mapping)
    values = typed(node, {"alpha": float} | ({} if scheduled else {"consistency": float}), "mixup")
    if scheduled:
        with option("mixup.consistency"):
            values["consistency"] = read_schedule(node["consistency"])
    with option("mixup"):
        return Mixup(**values)


def check_asked_anew(mixup: Mixup | None, stage: str, *, cached: bool, outputs: str | None) -> None:
    """Raise UserError for mixed texts of which a teacher's features, or its outputs, would be read from disk.

    stage: its key, "" for a run without stages. outputs: the file of teacher.outputs.
    """
    if mixup is None or not (cached or outputs is not None):
        return
    stored = "cache=auto" if cached else f"teacher.outputs={outputs}"
    place = f"stages.{stage}.mixup" if stage else "mixup"
    raise UserError(
        f"{stored} holds what a teacher says of the texts as they are, but {place}=embeddings mixes them anew in every "
        "step; leave out one of the two."
    )


def check_shares(config: Mapping[str, Any], terms: Collection[str]) -> None:
    """Raise UserError for a share of what is no term of any of the run's stages."""
    balance = balancer(config)
    for name in balance.shares if balance is not None else ():
        if name not in terms:
            known = ", ".join(dict.fromkeys(terms))
            raise UserError(f"balance.shares.{name} names no term{nearest(name, terms)}; the run has {known}.")
