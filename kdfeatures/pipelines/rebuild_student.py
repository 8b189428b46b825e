"""The student as it was before its distillation, made again from what the run has written down."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from transformers import PreTrainedModel, set_seed

from kdfeatures.config.objective import task_of_run
from kdfeatures.config.schema import StudentConfig, section
from kdfeatures.config.stages import stages_of
from kdfeatures.errors import UserError
from kdfeatures.models.load import load_config, load_trained
from kdfeatures.models.students import build_student, copied_layers
from kdfeatures.runs.results import FILE, read_results
from kdfeatures.tasks.registry import task_type


class Before(NamedTuple):
    """The model and how it came about, or None and why not."""

    model: PreTrainedModel | None
    note: str


def rebuilt(student: str, teacher: str) -> Before:
    """Return the student that the run in the folder `student` began with, from its results.json and the same teacher.

    Copied layers are the teacher's own; random weights are drawn with the run's seed, by the same steps as
    `kdfeatures distill`, and so are the run's own where torch draws as it did then. There is none for a model that is
    no run of distill, for another teacher than the run's, and for a student of later generations (born_again).
    """
    file = Path(student) / FILE
    if not file.is_file():
        return Before(None, f"{student} has no {FILE} that tells how it began")
    results = read_results(file.parent)
    if results["command"] != "distill":
        return Before(None, f"{file} is of {results['command']}, not of distill")
    try:
        return _rebuilt(OmegaConf.create(results["config"]), results, teacher)
    except (UserError, OmegaConfBaseException, KeyError) as error:
        return Before(None, f"{file} does not tell how the student began ({str(error).splitlines()[0]})")


def _rebuilt(cfg: DictConfig, results: dict, teacher: str) -> Before:
    of_teacher = load_config(teacher, "teacher.path")
    stages = stages_of(cfg, results["student"]["layers"], of_teacher.num_hidden_layers)
    if any(stage.born_again for stage in stages):
        return Before(None, "the student is of a later generation (born_again), whose beginning was not kept")
    config, first = section(cfg, "student", StudentConfig), stages[0].cfg
    task = task_of_run(first)
    if config.path is not None:
        return Before(load_trained(config.path, "student.path", task_type(task), force=True), f"began as {config.path}")
    own = results["teacher"]["path"] if first.teacher.path is None else first.teacher.path
    if not _is_same(own, teacher):
        return Before(None, f"the student began as a part of {own}, not of teacher.path={teacher}")
    headed = load_trained(teacher, "teacher.path", task_type(task), force=True)
    seed = cfg.seed if config.seed is None else config.seed
    set_seed(seed)
    made = build_student(config, headed, None, task)
    depth = made.config.num_hidden_layers
    if config.init == "teacher":
        copied = copied_layers(config, depth, of_teacher.num_hidden_layers)
        return Before(made, f"began with a copy of the teacher's layers {', '.join(map(str, copied))}")
    return Before(made, f"began with random weights, drawn again with seed {seed}")


def _is_same(told: str, given: str) -> bool:
    """True for one folder, or, where the run's own path leads nowhere from here, for one name."""
    if Path(told).exists():
        return Path(told).resolve() == Path(given).resolve()
    return Path(told).name == Path(given).name
