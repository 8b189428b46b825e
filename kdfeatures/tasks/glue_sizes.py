"""How many examples the validation splits of GLUE have: a score on other ones is not what the benchmark reports."""

from __future__ import annotations

from kdfeatures.tasks.task import Task

DATASET = "nyu-mll/glue"
EXAMPLES: dict[tuple[str | None, str], int] = {
    ("cola", "validation"): 1043,
    ("sst2", "validation"): 872,
    ("mrpc", "validation"): 408,
    ("stsb", "validation"): 1500,
    ("qqp", "validation"): 40430,
    ("mnli", "validation_matched"): 9815,
    ("mnli", "validation_mismatched"): 9832,
    ("qnli", "validation"): 5463,
    ("rte", "validation"): 277,
    ("wnli", "validation"): 71,
}


def official_count(task: Task, split: str) -> int | None:
    """Return how many examples a split of a published dataset has, or None where that is not known."""
    return EXAMPLES.get((task.config, task.splits.get(split, split))) if task.dataset == DATASET else None


def is_partial(task: Task, split: str, examples: int | None) -> bool:
    """True when a model was scored on another number of examples than the split has. examples: None is not known."""
    official = official_count(task, split)
    return None not in (official, examples) and examples != official
