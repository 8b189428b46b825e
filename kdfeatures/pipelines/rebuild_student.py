"""The student as it was before its distillation, made again from what the run has written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from transformers import PreTrainedModel, set_seed

from kdfeatures.config.load import task_of_stage
from kdfeatures.config.schema import section
from kdfeatures.config.stages import stages_of
from kdfeatures.errors import UserError, first_line
from kdfeatures.models.configs import load_config
from kdfeatures.models.load import load_trained
from kdfeatures.models.students import StudentSpec, build_student, copied_layers
from kdfeatures.runs.moved_options import current_config
from kdfeatures.runs.results import FILE, read_results
from kdfeatures.tasks.registry import task_type


class Before(NamedTuple):
    """The model and how it came about, or None and why not."""

    model: PreTrainedModel | None
    note: str


def rebuilt(student: str, teacher: str, allow_targets: Sequence[str] = ()) -> Before:
    """Return the student that the run in the folder `student` began with, from its results.json and the same teacher.

    Copied layers are the teacher's own; random weights are drawn with the run's seed, by the same steps as
    `kdfeatures distill`, and so are the run's own where torch draws as it did then. There is none for a model that is
    no run of distill, for another teacher than the run's, and for a student of later generations (born_again).
    allow_targets: packages that the caller allows the file to name; what the file itself allows does not count.
    """
    file = Path(student) / FILE
    if not file.is_file():
        return Before(None, f"{student} has no {FILE} that tells how it began")
    try:
        results = read_results(file.parent)
        if results["command"] != "distill":
            return Before(None, f"{file} is of {results['command']}, not of distill")
        return _rebuilt({**current_config(results["config"]), "allow_targets": list(allow_targets)}, results, teacher)
    except Exception as error:  # whatever a strange file makes one stumble over
        reason = first_line(error) if isinstance(error, UserError) else type(error).__name__
        return Before(None, f"{file} does not tell how the student began ({reason})")


def _rebuilt(config: Mapping[str, Any], results: Mapping[str, Any], teacher: str) -> Before:
    of_teacher = load_config(teacher, "teacher.path")
    depths = results["student"]["layers"], of_teacher.num_hidden_layers
    stages = stages_of(config, lambda: depths)
    if any(stage.born_again for stage in stages):
        return Before(None, "the student is of a later generation (born_again), whose beginning was not kept")
    spec, first = section(config, "student", StudentSpec), stages[0].config
    task = task_of_stage(first)
    if spec.path is not None:
        return Before(load_trained(spec.source, "student.path", task_type(task), force=True), f"began as {spec.path}")
    path = first["teacher"]["path"]
    learned_from = results["teacher"]["path"] if path is None else path
    if not _is_same(learned_from, teacher):
        return Before(None, f"the student began as a part of {learned_from}, not of teacher.path={teacher}")
    if spec.init == "teacher" and spec.measures and results.get("copied_layers"):
        spec = replace(spec, layers_from=results["copied_layers"], layers_by=None)
    if spec.vocabulary is not None:
        return Before(None, "the student began with a vocabulary that was cut by texts that are not read here")
    if spec.measures:
        return Before(
            None, "the student began as what was kept of the teacher, measured on texts that are not read here"
        )
    headed = load_trained(teacher, "teacher.path", task_type(task), force=True)
    seed = config["seed"] if spec.seed is None else spec.seed
    set_seed(seed)
    model = build_student(spec, headed, None, task)
    depth = model.config.num_hidden_layers
    if spec.init == "teacher":
        copied = copied_layers(spec, depth, of_teacher)
        return Before(model, f"began with a copy of the teacher's layers {', '.join(map(str, copied))}")
    drawn = f"random weights, drawn again with seed {seed}"
    if spec.init == "pca":
        return Before(model, f"began with the teacher's embeddings made narrower, and {drawn}")
    return Before(model, f"began with {drawn}")


def _is_same(named: str, given: str) -> bool:
    """True for one folder, or, where the run's own path leads nowhere from here, for one name."""
    if Path(named).exists():
        return Path(named).resolve() == Path(given).resolve()
    return Path(named).name == Path(given).name
