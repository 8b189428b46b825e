"""The model card of a saved model: what it is, how it was made, how it scores, how to load it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from kdfeatures.kinds import kind_of
from kdfeatures.tasks import Task

BODY = """---
{card_data}
---

# {name}

{story}

Trained on {examples} of {task}, seed {seed}, with kdfeatures {version}.

| split | metric | value |
|---|---|---|
{scores}

```python
from transformers import pipeline

model = pipeline("{pipeline}", model="{name}")
```

The whole configuration and the versions are in `results.json`.
"""


def write_card(folder: Path, results: Mapping[str, Any], task: Task) -> None:
    """Write README.md with the results in model-index form beside the saved model."""
    student, pipeline = results["student"], kind_of(task).pipeline
    scores = [
        (split, metric, value) for split, metrics in student["metrics"].items() for metric, value in metrics.items()
    ]
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag=pipeline,
        tags=["kdfeatures", "knowledge-distillation"] if results["recipe"] else ["kdfeatures"],
        model_name=folder.name,
        eval_results=[
            EvalResult(
                task_type=pipeline,
                dataset_type=task.dataset or task.name,
                dataset_name=task.name,
                dataset_config=task.config,
                dataset_split=task.splits.get(split, split),
                metric_type=metric,
                metric_value=value,
            )
            for split, metric, value in scores
        ],
    )
    text = BODY.format(
        card_data=data.to_yaml(),
        name=folder.name,
        pipeline=pipeline,
        story=_story(results),
        examples=_examples(results, task),
        task=task.name,
        seed=results["seed"],
        version=results["versions"]["kdfeatures"],
        scores="\n".join(f"| {split} | {metric} | {value:.4f} |" for split, metric, value in scores),
    )
    ModelCard(text, ignore_metadata_errors=False).save(folder / "README.md")


def _examples(results: Mapping[str, Any], task: Task) -> str:
    labelled, all_of_them = results["labelled_examples"], results["train_examples"]
    if not task.has_labels:
        return f"{all_of_them} examples"
    pool = f" and {all_of_them - labelled} whose labels were not used" if all_of_them > labelled else ""
    return f"{labelled} labelled examples{pool}"


def _story(results: Mapping[str, Any]) -> str:
    student = _size(results["student"])
    if results["recipe"] is None:
        return f"A {student} fine-tuned on {'labels' if results['labelled_examples'] else 'text'}."
    teacher = f"{_size(results['teacher'])} ({results['teacher']['path']})"
    if not results["mapping"]:
        return f"A {student}, recipe `{results['recipe']}`, with the teacher {teacher}."
    story = f"A {student} distilled from the {teacher} with recipe `{results['recipe']}`; "
    moving = dict.fromkeys(found["rule"] for found in results["maps"].values() if found["epochs"])
    if moving:
        return f"{story}student layers learn from teacher layers by the moving map `{'`, `'.join(moving)}`."
    pairs = ", ".join(f"{s} from {t}" for s, t in results["mapping"])
    return f"{story}student layers learn from teacher layers: {pairs} (0 is the embeddings)."


def _size(model: Mapping[str, Any]) -> str:
    if model["layers"] is None:
        return model["model_type"]
    millions = model["parameters"] / 1e6
    return f"{model['layers']} x {model['hidden_size']} {model['model_type']} ({millions:.1f}M parameters)"
