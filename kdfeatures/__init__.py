"""kdfeatures: distil BERT-style encoders by their features: hidden states, attention and relations, not only logits.

    import kdfeatures as kd

    with kd.capture(model, hidden=[6], attention=[6]) as features: ...      what a forward pass computes inside
    objective = kd.Objective(hidden=kd.Term(kd.losses.HiddenMSE()))         what a student learns, layer by layer
    kd.DistillationTrainer(model=student, teacher_model=teacher, objective=objective, ...).train()
    kd.distill("mrpc", teacher="teacher", recipe="tinybert", output_dir="out")   a whole run, scored

Names are loaded when they are first used: transformers takes seconds, and `kdfeatures --help` should not.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdfeatures import losses as losses
    from kdfeatures import mapping as mapping
    from kdfeatures.analysis.compare_heads import HeadComparison as HeadComparison
    from kdfeatures.analysis.compare_heads import compare_heads as compare_heads
    from kdfeatures.analysis.compare_layers import LayerComparison as LayerComparison
    from kdfeatures.analysis.compare_layers import compare_layers as compare_layers
    from kdfeatures.api.distill import distill as distill
    from kdfeatures.api.evaluate import evaluate as evaluate
    from kdfeatures.api.finetune import finetune as finetune
    from kdfeatures.api.recipes import recipe as recipe
    from kdfeatures.api.recipes import recipe_names as recipe_names
    from kdfeatures.capture.context import capture as capture
    from kdfeatures.capture.context import extract as extract
    from kdfeatures.distillation.distiller import Distiller as Distiller
    from kdfeatures.distillation.mixup.settings import Mixup as Mixup
    from kdfeatures.distillation.objective import Objective as Objective
    from kdfeatures.distillation.recipe import Recipe as Recipe
    from kdfeatures.distillation.schedules import Cosine as Cosine
    from kdfeatures.distillation.schedules import Linear as Linear
    from kdfeatures.distillation.schedules import Steps as Steps
    from kdfeatures.distillation.term import Term as Term
    from kdfeatures.embeddings.pooling import Pooling as Pooling
    from kdfeatures.embeddings.pooling import give_vectors as give_vectors
    from kdfeatures.errors import ConfigError as ConfigError
    from kdfeatures.errors import UserError as UserError
    from kdfeatures.features import Features as Features
    from kdfeatures.mapping.pairs import LayerPair as LayerPair
    from kdfeatures.models.students import StudentSpec as StudentSpec
    from kdfeatures.runs.comparison import RunComparison as RunComparison
    from kdfeatures.runs.comparison import compare_runs as compare_runs
    from kdfeatures.runs.run_results import RunResults as RunResults
    from kdfeatures.tasks.task import Task as Task
    from kdfeatures.tokenization.encode_for_both import encode_for_both as encode_for_both
    from kdfeatures.training.trainer import DistillationTrainer as DistillationTrainer

    __version__: str

_HOMES = {
    "ConfigError": "errors",
    "Cosine": "distillation.schedules",
    "DistillationTrainer": "training.trainer",
    "Distiller": "distillation.distiller",
    "Features": "features",
    "HeadComparison": "analysis.compare_heads",
    "LayerComparison": "analysis.compare_layers",
    "LayerPair": "mapping.pairs",
    "Linear": "distillation.schedules",
    "Mixup": "distillation.mixup.settings",
    "Objective": "distillation.objective",
    "Pooling": "embeddings.pooling",
    "Recipe": "distillation.recipe",
    "RunComparison": "runs.comparison",
    "RunResults": "runs.run_results",
    "Steps": "distillation.schedules",
    "StudentSpec": "models.students",
    "Task": "tasks.task",
    "Term": "distillation.term",
    "UserError": "errors",
    "compare_heads": "analysis.compare_heads",
    "compare_layers": "analysis.compare_layers",
    "compare_runs": "runs.comparison",
    "distill": "api.distill",
    "encode_for_both": "tokenization.encode_for_both",
    "evaluate": "api.evaluate",
    "extract": "capture.context",
    "finetune": "api.finetune",
    "give_vectors": "embeddings.pooling",
    "recipe": "api.recipes",
    "recipe_names": "api.recipes",
}
_PACKAGES = ("capture", "losses", "mapping")  # `capture` is called, too; see its __init__

__all__ = sorted([*_HOMES, *_PACKAGES, "__version__"])


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        value: Any = importlib.import_module(f"kdfeatures.{name}")
    elif name in _HOMES:
        value = getattr(importlib.import_module(f"kdfeatures.{_HOMES[name]}"), name)
    elif name == "__version__":
        value = _version()
    else:
        raise AttributeError(f"module 'kdfeatures' has no attribute '{name}'")
    globals()[name] = value
    return value


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("kdfeatures")
    except PackageNotFoundError:  # a checkout that is on the path but was not installed
        return "unknown"


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__") and name != "__version__")])
