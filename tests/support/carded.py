"""Results of runs that never ran, for model cards and uploads."""

from omegaconf import OmegaConf
from support.composing import compose
from support.tiny import model_entry

METRICS = {"validation": {"accuracy": 0.875, "f1": 0.9}}


def told_results(
    recipe="tinybert_joint", *overrides, metrics=None, mapping=((0, 0), (1, 3), (2, 6)), train=100, labelled=100
):
    command = ["finetune", "task=mrpc"] if recipe is None else ["distill", "task=mrpc", f"recipe={recipe}"]
    return {
        "recipe": recipe,
        "config": OmegaConf.to_container(compose(*command, *overrides)),
        "mapping": None if recipe is None else [list(pair) for pair in mapping],
        "maps": {},
        "heads": {},
        "seed": 7,
        "teacher": None if recipe is None else model_entry("/home/me/runs/teacher", parameters=110_000_000),
        "student": model_entry(metrics=metrics or METRICS),
        "train_examples": train,
        "labelled_examples": labelled,
        "versions": {"kdfeatures": "1.2.3"},
    }
