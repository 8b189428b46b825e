"""kdfeatures distill: train a student on a teacher's features, logits and the labels, in one stage or several."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from accelerate import PartialState
from omegaconf import DictConfig, OmegaConf
from transformers import PreTrainedConfig

from kdfeatures.cli.commands.finetune import embedded_config, finetune
from kdfeatures.config.augmentation import augmentation_settings
from kdfeatures.config.cache import cache_settings, check_cacheable
from kdfeatures.config.objective import build_objective, task_of_run
from kdfeatures.config.schema import DataConfig, StudentConfig, TeacherConfig, section
from kdfeatures.config.stages import Stage, stages_of
from kdfeatures.config.teachers import teacher_settings
from kdfeatures.config.training import training_arguments
from kdfeatures.distillation.balancing import check_shares
from kdfeatures.distillation.gradients import check_measurable
from kdfeatures.distillation.objective import Objective
from kdfeatures.errors import UserError
from kdfeatures.models.load import load_config
from kdfeatures.models.students import planned_config
from kdfeatures.pipelines.distill import distil
from kdfeatures.pipelines.teachers import option_of
from kdfeatures.pipelines.text_inputs import check_reading, check_stream
from kdfeatures.runs.folder import STAGES, finished_results, open_output
from kdfeatures.runs.model_card import write_card
from kdfeatures.runs.results import write_results
from kdfeatures.runs.upload import pushed
from kdfeatures.tasks.task import Task
from kdfeatures.training.distributed import is_first

EXAMPLES = ("train_examples", "labelled_examples", "pool_examples", "augmented_examples")
OF_STAGE = ("seconds", "losses", "mapping", "maps", "heads", *EXAMPLES, "padding", "report")


class Plan(NamedTuple):
    """A stage that can be run, as far as configs tell: its objective fits models of these configs.

    teacher: None for stored outputs. others: the further teachers, by name.
    """

    stage: Stage
    task: Task
    student: PreTrainedConfig
    teacher: PreTrainedConfig | None
    objective: Objective
    others: dict[str, PreTrainedConfig]


@pushed
def run(cfg: DictConfig, output_dir: Path) -> dict[str, Any] | None:
    """Distil `teacher` into `student` by the recipe's terms and stages. Everything is checked before training starts.

    A stage lies in its own folder below output_dir/stages, and starts from the student and the projections of those
    before it; the last student is the run's. With existing=resume finished stages are not run again, and the next goes
    on from its last checkpoint. Of several processes the first evaluates and returns the results, the others None.
    """
    checkpoint = open_output(output_dir, cfg.existing)
    done = finished_results(output_dir, cfg)
    if done is not None:
        return done
    plans = check(cfg, output_dir)
    if cfg.teacher.path is None and cfg.teacher.outputs is None:
        cfg = OmegaConf.merge(cfg, {"teacher": {"path": _train_teacher(cfg, output_dir)}})
        plans = check(cfg, output_dir)
    stages = [plan.stage for plan in plans]
    if not cfg.stages:
        return distil(stages[0].cfg, output_dir, checkpoint)
    PartialState().wait_for_everyone()  # none may write into a folder that another is about to clear
    return _run_stages(cfg, stages, output_dir)


def check(cfg: DictConfig, output_dir: Path) -> list[Plan]:
    """Return the plan of every stage; raises UserError for what shows to be wrong before models are loaded."""
    planned = None
    plans: list[Plan] = []
    if type(cfg.explain) is not bool:
        raise UserError(f"explain={cfg.explain} must be true or false.")
    for stage in _stages(cfg):
        task, data = task_of_run(stage.cfg), section(stage.cfg, "data", DataConfig)
        check_reading(task, data)
        check_stream(data, stage.cfg)
        teacher, others = teacher_settings(stage.cfg)
        student = section(stage.cfg, "student", StudentConfig)
        if cache_settings(stage.cfg) is not None:
            check_cacheable(task, data)
        augmentation_settings(stage.cfg)
        of_teacher = planned if stage.born_again else _teacher_config(teacher, task)
        planned = planned or _student_config(student, of_teacher, task)
        of_others = {name: load_config(other.path, option_of(name)) for name, other in others.items()}
        objective, _ = build_objective(stage.cfg, planned, of_teacher, regression=task.is_regression, others=of_others)
        arguments = training_arguments(stage.cfg.trainer, output_dir, task, seed=cfg.seed, find_unused_parameters=False)
        check_measurable(arguments, balanced=objective.balance is not None, explained=cfg.explain)
        objective.check_training(arguments, streaming=data.streaming)
        plans.append(Plan(stage, task, planned, of_teacher, objective, of_others))
    check_shares(cfg, [name for plan in plans for name in plan.objective.terms])
    return plans


def _stages(cfg: DictConfig) -> list[Stage]:
    task = Task.from_config(OmegaConf.to_container(cfg.task))
    of_teacher = _teacher_config(teacher_settings(cfg)[0], task)
    planned = _student_config(section(cfg, "student", StudentConfig), of_teacher, task)
    return stages_of(cfg, planned.num_hidden_layers, 0 if of_teacher is None else of_teacher.num_hidden_layers)


def _teacher_config(teacher: TeacherConfig, task: Task):
    """Return the config of the teacher that there is or will be; None for stored outputs."""
    if teacher.outputs is not None:
        return None
    if teacher.path is not None:
        return load_config(teacher.path, "teacher.path")
    if task.embedded is None:
        raise UserError(
            f"task={task.name} needs a teacher: give teacher.path=FOLDER_OR_HUB_ID, for instance one that "
            f"`kdfeatures finetune task={task.name} model.path=...` made."
        )
    return embedded_config(teacher.model, task)


def _student_config(student: StudentConfig, of_teacher, task: Task):
    if student.path is not None:
        return load_config(student.path, "student.path")
    return planned_config(student, of_teacher, task)


def _train_teacher(cfg: DictConfig, output_dir: Path) -> str:
    folder = output_dir / "teacher"
    print(f"No teacher.path given: training a teacher for the generated task '{cfg.task.name}' in {folder}.")
    whole = OmegaConf.merge(cfg, {"data": {"labelled": None, "train_examples": None, "pool": None}})
    existing = "resume" if cfg.existing == "resume" else "overwrite"
    model = section(cfg, "teacher", TeacherConfig).model
    finetune(whole, folder, model=model, trainer=cfg.teacher.trainer, existing=existing)
    return str(folder)


def _run_stages(cfg: DictConfig, stages: Sequence[Stage], output_dir: Path) -> dict[str, Any] | None:
    done: list[Path] = []
    found: list[dict[str, Any] | None] = []
    for number, stage in enumerate(stages, 1):
        folder = output_dir / STAGES / f"{number}-{stage.name}"
        print(f"Stage {number} of {len(stages)}: {stage.name}", flush=True)
        own, earlier = stage.cfg, done
        if stage.born_again:
            own, earlier = OmegaConf.merge(own, _next_generation(own, done[-1], number)), []
        elif done:
            own = OmegaConf.merge(own, {"student": _continued(cfg, done[-1])})
        checkpoint = open_output(folder, cfg.existing)
        finished = finished_results(folder, own)
        found.append(distil(own, folder, checkpoint, earlier=earlier) if finished is None else finished)
        done.append(folder)
    if not is_first():
        return None
    return _conclude(cfg, [stage.name for stage in stages], found, done[-1], output_dir)


def _continued(cfg: DictConfig, folder: Path) -> dict[str, Any]:
    kept = {name: cfg.student[name] for name in ("init", "layer_share")}
    return {name: None for name in cfg.student} | {"path": str(folder)} | kept


def _next_generation(cfg: DictConfig, folder: Path, number: int) -> dict[str, Any]:
    """Return the change to a stage's config by which the student in `folder` teaches a new one."""
    seed = cfg.seed if cfg.student.seed is None else cfg.student.seed
    previous = {"path": str(folder), "outputs": None, "id_column": None}
    return {"teacher": previous, "student": {"seed": seed + number - 1}}


def _conclude(
    cfg: DictConfig, names: Sequence[str], found: Sequence[dict[str, Any]], last: Path, output_dir: Path
) -> dict[str, Any]:
    """Put the last stage's student and files into the run's folder, and the results of all stages into one."""
    for file in last.iterdir():
        if file.is_file() and not file.name.startswith(("results", "training_args", "trainer_state")):
            shutil.copyfile(file, output_dir / file.name)
    found = [dict.fromkeys(EXAMPLES, 0) | result for result in found]  # older stages did not count all of them
    of_stages = [
        {"name": name} | {key: result[key] for key in OF_STAGE} | {"metrics": result["student"]["metrics"]}
        for name, result in zip(names, found, strict=True)
    ]
    results = found[-1] | {
        "mapping": sorted({tuple(pair) for result in found for pair in result["mapping"]}),
        "student": found[-1]["student"] | {"path": str(output_dir)},
        **{of: max(result[of] for result in found) for of in EXAMPLES},
        "seconds": {of: sum(result["seconds"][of] for result in found) for of in ("train", "total")},
        "stages": of_stages,
        "config": OmegaConf.to_container(cfg, resolve=True),
    }
    write_card(output_dir, results, Task.from_config(OmegaConf.to_container(cfg.task)))
    write_results(output_dir, results)
    return results
