"""The border: a composed config becomes the typed settings of a command, once; wrong values are one line."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from omegaconf import DictConfig
from transformers import PreTrainedConfig

from kdfeatures.analysis.settings import InspectSettings
from kdfeatures.config.objective import ConfiguredMap, objective_of
from kdfeatures.config.option_errors import option
from kdfeatures.config.options import (
    CacheOptions,
    CommonOptions,
    DistillOptions,
    EvaluateOptions,
    ExportOptions,
    FinetuneOptions,
    InspectOptions,
    with_types,
)
from kdfeatures.config.schema import plain_config, section, type_hints, typed
from kdfeatures.config.settings import (
    CacheRunSettings,
    DistillSettings,
    EvaluateSettings,
    ExportSettings,
    FinetuneSettings,
    InspectRunSettings,
    OutputSettings,
    StageSettings,
)
from kdfeatures.config.stages import Stage, stages_of
from kdfeatures.config.switches import (
    augmentation_settings,
    cache_settings,
    check_asked_anew,
    check_cacheable,
    check_shares,
)
from kdfeatures.config.teachers import teacher_settings
from kdfeatures.config.terms.auto import with_fitting_terms
from kdfeatures.config.training import trainer_settings
from kdfeatures.data.proposals import proposed
from kdfeatures.data.settings import DataSettings, check_data
from kdfeatures.distillation.objective import Objective
from kdfeatures.distillation.term import Term
from kdfeatures.errors import UserError
from kdfeatures.features import OPERANDS
from kdfeatures.hub.models import with_revision
from kdfeatures.losses import HardLabel
from kdfeatures.models.configs import load_config
from kdfeatures.models.encoders import EncoderSpec
from kdfeatures.models.planned import planned_student, planned_teacher
from kdfeatures.models.students import StudentSpec
from kdfeatures.ranges import MAX_LAYERS, Count, Range
from kdfeatures.runs.stage_configs import merged
from kdfeatures.tasks.label_order import class_names, is_generic
from kdfeatures.tasks.registry import task_type
from kdfeatures.tasks.sections import Reading, Windows
from kdfeatures.tasks.task import Task

logger = logging.getLogger(__name__)

Config = DictConfig | Mapping[str, Any]  # as Hydra composed it, or plain already
Terms = Mapping[str, Term]


def task_of(config: Mapping[str, Any]) -> Task:
    """Return the task of a run config; raises UserError for keys and values that do not fit."""
    node = dict(config["task"])
    for section_type in (Reading, Windows):
        name = section_type.name
        if isinstance(node.get(name), Mapping):
            node[name] = typed(node[name], type_hints(section_type), f"task.{name}")
    return Task.from_config(node)


def task_of_stage(config: Mapping[str, Any]) -> Task:
    """Return the task of a stage's config; text without outputs if it is text and no term reads any."""
    task = task_of(config)
    return _for_terms(task, objective_of(config)) if task.kind == "text" else task


def _for_terms(task: Task, objective: Objective) -> Task:
    return task.without_outputs if task.kind == "text" and not objective.reads_outputs else task


def finetune_settings(cfg: Config, output_dir: Path | None = None) -> FinetuneSettings:
    """Return what `kdfeatures finetune` is to do."""
    config = _plain(cfg, output_dir, FinetuneOptions)
    task, data = task_of(config), section(config, "data", DataSettings)
    if data.streaming:
        raise UserError("kdfeatures finetune reads no stream; set data.streaming=false.")
    if not task_type(task).learns_labels:
        raise UserError(
            f"task '{task.name}' is of kind {task.kind}, which finetune does not train; distil a teacher, or fine-tune "
            "with the library sentence-transformers."
        )
    if data.pool is not None:
        raise UserError(f"data.pool={data.pool} has no labels, so finetune cannot learn from it; leave it out.")
    return FinetuneSettings(
        task=task,
        data=data,
        model=section(config, "model", EncoderSpec),
        trainer=trainer_settings(config["trainer"], task),
        seed=config["seed"],
        split=config["split"],
        output=_output(config),
        record=config,
        loss=_hard_label(config.get("class_weights")),
    )


def _hard_label(class_weights: Any) -> HardLabel:
    weights = class_weights if isinstance(class_weights, (list, tuple)) else []
    is_right = class_weights is None or isinstance(class_weights, str) or len(weights) > 0
    if not is_right or not all(type(weight) in (int, float) for weight in weights):
        raise UserError(f"class_weights={class_weights} must be balanced, null, or a list of a number for each class.")
    with option(""):
        return HardLabel(class_weights=class_weights)


def distill_settings(
    cfg: Config, output_dir: Path | None = None, *, objective: Objective | None = None, terms: Terms | None = None
) -> DistillSettings:
    """Return what `kdfeatures distill` is to do, stage by stage.

    objective: made in Python, in place of all that the config says of one; its `losses` then only name the terms.
    terms: made in Python, in place of those of their name.
    """
    return _distill_settings(_plain(cfg, output_dir, DistillOptions), objective, terms)


def cache_run_settings(cfg: DictConfig, output_dir: Path | None = None) -> CacheRunSettings:
    """Return what `kdfeatures cache` is to do."""
    config = _plain(cfg, output_dir, CacheOptions)
    cache = cache_settings(config)
    if cache is None:
        raise UserError("kdfeatures cache fills a cache, so it cannot do with cache=off; leave that out.")
    if config["teacher"]["path"] is None:
        raise UserError("kdfeatures cache needs a trained teacher: give teacher.path=FOLDER_OR_HUB_ID.")
    layers = section(config, "more", _MoreLayers)
    more = [("hidden", layer) for layer in layers.hidden]
    more += [(operand, layer) for layer in layers.attention for operand in OPERANDS]
    return CacheRunSettings(_distill_settings(config), cache, more)


def evaluate_settings(cfg: Config, output_dir: Path | None = None) -> EvaluateSettings:
    """Return what `kdfeatures evaluate` is to do."""
    config = _plain(cfg, output_dir, EvaluateOptions)
    model = section(config, "model", _ScoredModel)
    task, data = task_of(config), section(config, "data", DataSettings)
    if model.path is None:
        raise UserError("nothing to evaluate: give model.path=FOLDER_OR_HUB_ID.")
    if not task.metrics:
        raise UserError(f"task={task.name} has no labels to score a model by; name their column as task.label.")
    if config["outputs"] is not None and task.kind != "sequence":
        raise UserError(
            f"outputs={config['outputs']} keeps classes or scores of whole texts, as teacher.outputs reads them, but "
            f"task '{task.name}' is of kind {task.kind}; leave it out."
        )
    return EvaluateSettings(
        task=task,
        data=data,
        path=with_revision(model.path, model.revision, "model.path"),
        force=model.force,
        batch_size=model.batch_size,
        seed=config["seed"],
        split=config["split"],
        outputs=config["outputs"],
        output=_output(config),
        record=config,
    )


def export_settings(cfg: DictConfig, output_dir: Path) -> ExportSettings:
    """Return what `kdfeatures export` is to do."""
    config = _plain(cfg, output_dir, ExportOptions)
    model = section(config, "model", _ScoredModel)
    task, data = task_of(config), section(config, "data", DataSettings)
    if not task.metrics or task.is_text:
        raise UserError(f"task={task.name} has no labels to score an export by; choose a task with labels.")
    if model.path is None:
        raise UserError("nothing to export: give model.path=FOLDER_OR_HUB_ID.")
    return ExportSettings(
        task=task,
        data=data,
        path=with_revision(model.path, model.revision, "model.path"),
        force=model.force,
        batch_size=model.batch_size,
        seed=config["seed"],
        split=config["split"],
        resamples=config["resamples"],
        output=_output(config),
        record=config,
    )


def inspect_settings(cfg: DictConfig, output_dir: Path | None = None) -> InspectRunSettings:
    """Return what `kdfeatures inspect` is to do."""
    config = _plain(cfg, output_dir, InspectOptions)
    task, data = task_of(config), section(config, "data", DataSettings)
    inspect = section(config, "inspect", InspectSettings)
    teacher, student = (_compared(section(config, name, _PathOnly), name) for name in ("teacher", "student"))
    return InspectRunSettings(
        task=task,
        data=data,
        split=config["split"],
        seed=config["seed"],
        teacher=teacher,
        student=student,
        before=section(config, "before", _PathOnly).path,
        mapping=ConfiguredMap(config["mapping"], "mapping", config["allow_targets"]),
        inspect=inspect,
        output=_output(config),
        record=config,
    )


def _compared(model: _PathOnly, name: str) -> str:
    if model.path is None:
        raise UserError(f"inspect compares a student with its teacher: give {name}.path=FOLDER_OR_HUB_ID.")
    return with_revision(model.path, model.revision, f"{name}.path")


def stage_settings(stage: Stage, objective: Objective | None = None, terms: Terms | None = None) -> StageSettings:
    """Return the settings of one stage; raises UserError for what shows to be wrong without a model.

    objective, terms: see distill_settings.
    """
    config = stage.config
    objective = objective_of(config, terms) if objective is None else objective
    task = _for_terms(task_of(config), objective)
    data, student = section(config, "data", DataSettings), section(config, "student", StudentSpec)
    if student.freeze_head and task.outputs == "vector":
        raise UserError(
            f"student.freeze_head=true copies the teacher's head, but models for task '{task.name}' of kind "
            f"{task.kind} have none; leave it out."
        )
    trainer = trainer_settings(config["trainer"], task) if "trainer" in config else None
    check_data(task, data)
    if trainer is not None:
        check_stream(data, config["trainer"])
    teacher, others = teacher_settings(config)
    cache = cache_settings(config)
    if cache is not None:
        check_cacheable(task, data)
    check_asked_anew(objective.mixup, stage.key, cached=cache is not None, outputs=teacher.outputs)
    return StageSettings(
        name=stage.name,
        key=stage.key,
        born_again=stage.born_again,
        task=task,
        data=data,
        teacher=teacher,
        others=others,
        student=student,
        objective=objective,
        cache=cache,
        augmentation=augmentation_settings(config),
        trainer=trainer,
        seed=config["seed"],
        split=config["split"],
        freeze_below=config.get("freeze_below"),
        explain=config.get("explain", False),
        recipe=config["recipe_name"],
        record=config,
    )


def check_stream(data: DataSettings, trainer: Mapping[str, Any]) -> None:
    """Raise UserError for settings that need to know how long a stream is, or to read it twice."""
    if not data.streaming:
        return
    if trainer["max_steps"] < 1:
        raise UserError("data.streaming=true does not know how long an epoch is; set trainer.max_steps.")
    if trainer["tokens_per_batch"] is not None:
        raise UserError(
            f"trainer.tokens_per_batch={trainer['tokens_per_batch']} sorts examples by length, which a stream cannot; "
            "set trainer.per_device_train_batch_size, or data.streaming=false."
        )


@dataclass(frozen=True)
class _ScoredModel:
    """path, revision: folder or Hub id. force: score a model whose head or label names would be refused."""

    path: str | None = None
    revision: str | None = None
    force: bool = False
    batch_size: Annotated[int, Count] = 128


@dataclass(frozen=True)
class _PathOnly:
    path: str | None = None
    revision: str | None = None


@dataclass(frozen=True)
class _MoreLayers:
    """Teacher layers to keep besides those that the recipe takes: their hidden states; their q, k and v."""

    hidden: Annotated[list[int], Range(0, MAX_LAYERS)]
    attention: Annotated[list[int], Range(1, MAX_LAYERS)]


def _plain(cfg: Config, output_dir: Path | None, kind: type[CommonOptions]) -> Mapping[str, Any]:
    config = plain_config(cfg, output_dir) if isinstance(cfg, DictConfig) else cfg
    return with_proposals(with_types(config, kind))


def with_proposals(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a config whose task of the user's files has classes and metrics, proposed where they are left out.

    The names of a model that is given tell the classes where there is no training file.
    """
    node = config.get("task") or {}
    missing = [key for key in ("labels", "metrics") if node.get(key) is None]
    has_rest = all(node.get(key) not in (None, "???") for key in ("name", "text", "label"))
    if not missing or not node.get("files") or not has_rest:
        return config
    node = {**node, **{key: value for key, value in _of_model(config).items() if key in missing}}
    proposal = proposed(node, (config.get("data") or {}).get("path"))
    said = " and ".join(f"task.{key}=[{','.join(map(str, proposal[key]))}]" for key in missing)
    logger.info(f"{said}: proposed from the data; write other ones to decide yourself.")
    return {**config, "task": {**node, **proposal}}


def _of_model(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the classes of the model that is scored or that teaches, where its config names them; else nothing."""
    if (config["task"].get("files") or {}).get("train") is not None:
        return {}
    for name in ("model", "teacher"):
        node = config.get(name) or {}
        option, path = f"{name}.path", node.get("path")
        source = None if path is None else with_revision(path, node.get("revision"), option)
        names = [] if source is None else class_names(load_config(source, option).id2label or {})
        if names and not is_generic(names):
            return {"labels": names, "metrics": ["accuracy"]}
    return {}


def _distill_settings(
    config: Mapping[str, Any], objective: Objective | None = None, terms: Terms | None = None
) -> DistillSettings:
    task = task_of(config)
    teacher, _ = teacher_settings(config)
    student = section(config, "student", StudentSpec)
    encoder = section(config["teacher"], "model", EncoderSpec, where="teacher.model")

    def planned() -> tuple[PreTrainedConfig, PreTrainedConfig | None]:
        of_teacher = planned_teacher(teacher, encoder, task)
        return planned_student(student, of_teacher, task), of_teacher

    def depths() -> tuple[int, int]:
        of_student, of_teacher = planned()
        return of_student.num_hidden_layers, 0 if of_teacher is None else of_teacher.num_hidden_layers

    with option("student"):
        config = with_fitting_terms(config, planned)
        stages = [stage_settings(stage, objective, terms) for stage in stages_of(config, depths)]
    check_shares(config, [name for stage in stages for name in stage.objective.terms])
    training = None
    if teacher.path is None and teacher.outputs is None and task.embedded is not None:
        training = _teacher_training(config, task, encoder)
    return DistillSettings(
        task=task,
        stages=stages,
        has_stages=bool(config["stages"]),
        teacher_training=training,
        output=_output(config),
        record=config,
    )


def _teacher_training(config: Mapping[str, Any], task: Task, encoder: EncoderSpec) -> FinetuneSettings | None:
    if "trainer" not in config:
        return None
    whole = merged(config, {"data": {"labelled": None, "train_examples": None, "pool": None}})
    existing = "resume" if config["existing"] == "resume" else "overwrite"
    return FinetuneSettings(
        task=task,
        data=section(whole, "data", DataSettings),
        model=encoder,
        trainer=trainer_settings(config["teacher"]["trainer"], task),
        seed=config["seed"],
        split=config["split"],
        output=OutputSettings(existing=existing),
        record={**whole, "existing": existing},
    )


def _output(config: Mapping[str, Any]) -> OutputSettings:
    return OutputSettings(config["existing"], config.get("push_to_hub"), config.get("hub_private"))
