"""What each term of a distillation compares, how it counts, and its gradient on the student."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from kdfeatures.config.settings import DistillSettings, StageSettings
from kdfeatures.distillation.summary import describe_objective
from kdfeatures.pipelines.distill import trainer_of
from kdfeatures.pipelines.plan import Plan, plan_stages
from kdfeatures.pipelines.prepare import DistillationSetup, outputs_of
from kdfeatures.pipelines.teachers import fit_maps_of, move_teachers
from kdfeatures.runs.folder import begin_run, open_output
from kdfeatures.runs.loss_tables import LEGEND, first_batch_text, report_text
from kdfeatures.runs.results import write_results

logger = logging.getLogger(__name__)

# the first step of the run, without what a run leaves behind
ONE_STEP = {
    "max_steps": 1,
    "eval_strategy": "no",
    "save_strategy": "no",
    "load_best_model_at_end": False,
    "early_stopping_patience": None,
    "threads": None,
    "report_to": "none",
    "disable_tqdm": True,
    "torch_compile": False,  # what is compiled runs backward only once
}


def explain(settings: DistillSettings, output_dir: Path | None) -> dict[str, Any]:
    """Print a report on every stage of a `kdfeatures distill` with the same settings, and return them by name.

    With a teacher that is there the first batch is measured too: its step is taken on models that are then forgotten,
    with the teacher beside the student even where the run would read a cache. Nothing is written unless output_dir is
    given, and there only results.json.
    """
    if output_dir is not None:
        open_output(output_dir, settings.output.existing, settings.record)
    plans = plan_stages(settings, Path("unused") if output_dir is None else output_dir)
    reports: dict[str, dict[str, Any]] = {}
    logger.info(f"{LEGEND}\n")
    for number, plan in enumerate(plans, 1):
        report = describe_objective(
            plan.objective, plan.student, plan.teacher, others=plan.others, **outputs_of(plan.stage.task, plan.student)
        )
        reports[plan.stage.name] = report
        logger.info(f"{_title(plan, number, len(plans))}\n\n{report_text(report)}\n")
    if any(plan.stage.teacher.path is None and plan.stage.teacher.outputs is None for plan in plans):
        logger.info(
            "Without a teacher.path no batch is measured. To make a teacher:\n"
            f"  kdfeatures finetune task={settings.task.name} output_dir=DIR"
        )
    else:
        if len(plans) > 1:
            logger.info(
                "Every stage below begins with the student as the first stage gets it, since nothing was trained.\n"
            )
        for number, plan in enumerate(plans, 1):
            measured = _measure(plan.stage)
            reports[plan.stage.name]["first_batch"] = measured
            stage = f"Stage {number}: {plan.stage.name}\n\n" if len(plans) > 1 else ""
            logger.info(f"{stage}{first_batch_text(measured)}\n")
    results = {"command": "explain", "stages": reports, "config": settings.record}
    if output_dir is not None:
        begin_run(output_dir, settings.output.existing, settings.record)
        write_results(output_dir, results)
    return results


def _title(plan: Plan, number: int, stages: int) -> str:
    recipe = f"Recipe {plan.stage.recipe} on {plan.stage.task.name}"
    return recipe if stages == 1 else f"{recipe}, stage {number} of {stages}: {plan.stage.name}"


def _measure(stage: StageSettings) -> dict[str, Any]:
    assert stage.trainer is not None
    stage = replace(stage, trainer=stage.trainer.changed(**ONE_STEP))
    measured: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        setup = DistillationSetup.prepare(stage, Path(folder))
        move_teachers(setup)
        fit_maps_of(setup, stage.seed, None)
        trainer = trainer_of(stage, setup, {}, measured.append)
        trainer.train()
        trainer.distiller.detach()
    return measured[0]
