"""The model card of a saved model: what it is, how it was made, how it scores, how to load it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from kdfeatures.runs.publishing.model_card_sections import (
    data_text,
    limits_text,
    scored_examples,
    scores_table,
    snippet,
    story,
    training_text,
)
from kdfeatures.runs.publishing.origins import licences, licences_text, trials_of, trials_text
from kdfeatures.runs.publishing.provenance import base_models
from kdfeatures.tasks.glue_sizes import DATASET, is_partial
from kdfeatures.tasks.registry import task_type
from kdfeatures.tasks.task import Task

# what the Hub calls our metrics, where it has another name
HUB_METRICS = {"mcc": "matthews_correlation", "pearson": "pearsonr"}
BODY = """---
{front_matter}
---

# {name}

{story}

## How to load it

```python
{snippet}
```

## Results

{scores}

## How it was trained

{training}

## Data

{data}

## Limits

{limits}

Made with {versions}. The whole configuration is in `results.json`.
"""


def write_card(
    folder: Path, results: Mapping[str, Any], task: Task, *, name: str | None = None, run: Path | None = None
) -> None:
    """Write README.md with the results in model-index form into `folder`, without any path of this machine.

    name: what the model is called and loaded by; None takes the folder's, which is right beside it. run: the run's
    folder, if it is another one.
    """
    called, pipeline = folder.name if name is None else name, task_type(task).pipeline
    language = _language(task)
    data = ModelCardData(
        library_name="sentence-transformers" if pipeline == "sentence-similarity" else "transformers",
        pipeline_tag=pipeline,
        license="unknown",
        tags=["kdfeatures", "knowledge-distillation"] if results["recipe"] else ["kdfeatures"],
        model_name=called.split("/")[-1],
        eval_results=list(_eval_results(results, task, pipeline)) or None,
        language=language,
        datasets=task.dataset,
        base_model=hub_models(results) or None,
    )
    text = BODY.format(
        front_matter=data.to_yaml(),
        name=called,
        story=story(results),
        snippet=snippet(pipeline, called, results, task),
        scores=scores_table(results),
        training=_training(results, task, folder if run is None else run),
        data=data_text(results, task),
        limits=limits_text(results, task, language),
        versions=", ".join(f"{package} {number}" for package, number in results["versions"].items()),
    )
    ModelCard(text, ignore_metadata_errors=False).save(folder / "README.md")


def _training(results: Mapping[str, Any], task: Task, run: Path) -> str:
    """Say how it was trained, from which pretrained models, and how its learning rate was found."""
    models = hub_models(results)
    origins = [licences_text(licences(models))] if models else []
    return "\n\n".join([training_text(results, task), *origins, trials_text(trials_of(run, results))])


def _eval_results(results: Mapping[str, Any], task: Task, pipeline: str) -> Iterator[EvalResult]:
    for split, metrics in results["student"]["metrics"].items():
        if is_partial(task, split, scored_examples(results, split)):
            continue  # a score on a part must not stand beside those of others on the whole
        for metric, value in metrics.items():
            if value is None or not math.isfinite(value):
                continue  # the Hub takes numbers only
            yield EvalResult(
                task_type=pipeline,
                dataset_type=task.dataset or task.name,
                dataset_name=task.name,
                dataset_config=task.config,
                dataset_split=task.splits.get(split, split),
                metric_type=HUB_METRICS.get(metric, metric),
                metric_name=metric,
                metric_value=value,
            )


def _language(task: Task) -> str | None:
    return "en" if task.dataset == DATASET or task.embedded else None


def hub_models(results: Mapping[str, Any]) -> list[str]:
    """Return the base models of a run; of an older one, which did not keep them, those that its config names."""
    return results["base_models"] if "base_models" in results else base_models(results["config"])
