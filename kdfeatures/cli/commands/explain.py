"""kdfeatures explain: what each term of a distillation compares, how it counts, and its gradient on the student."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kdfeatures.cli.commands.distill import Plan, check
from kdfeatures.distillation.summary import describe_objective
from kdfeatures.pipelines.distill import trainer_of
from kdfeatures.pipelines.prepare import DistillationSetup, outputs_of
from kdfeatures.pipelines.teachers import fit_maps_of, move_teachers
from kdfeatures.runs.loss_tables import LEGEND, first_batch_text, report_text
from kdfeatures.runs.results import write_results

# the first step of the run, without what a run leaves behind
ONE_STEP = {
    "max_steps": 1,
    "eval_strategy": "no",
    "save_strategy": "no",
    "load_best_model_at_end": False,
    "early_stopping_patience": None,
    "report_to": "none",
    "disable_tqdm": True,
    "torch_compile": False,  # what is compiled runs backward only once
}


def run(cfg: DictConfig, output_dir: Path) -> dict[str, Any]:
    """Print a report on every stage of a `kdfeatures distill` with the same config, and return them by name.

    With a teacher.path the first batch is measured too: its step is taken on models that are then forgotten, with the
    teacher beside the student even where the run would read a cache. Nothing is written unless cfg.output_dir is given,
    and there only results.json.
    """
    plans = check(cfg, output_dir)
    reports: dict[str, dict[str, Any]] = {}
    print(f"{LEGEND}\n")
    for number, plan in enumerate(plans, 1):
        report = describe_objective(
            plan.objective, plan.student, plan.teacher, others=plan.others, **outputs_of(plan.task, plan.student)
        )
        reports[plan.stage.name] = report
        print(f"{_title(plan, number, len(plans))}\n\n{report_text(report)}\n", flush=True)
    if any(plan.stage.cfg.teacher.path is None and plan.stage.cfg.teacher.outputs is None for plan in plans):
        print(
            "Without a teacher.path no batch is measured. To make a teacher:\n"
            f"  kdfeatures finetune task={cfg.task.name} output_dir=DIR"
        )
    else:
        if len(plans) > 1:
            print("Every stage below begins with the student as the first stage gets it, since nothing was trained.\n")
        for number, plan in enumerate(plans, 1):
            found = _measure(plan.stage.cfg)
            reports[plan.stage.name]["first_batch"] = found
            stage = f"Stage {number}: {plan.stage.name}\n\n" if len(plans) > 1 else ""
            print(f"{stage}{first_batch_text(found)}\n", flush=True)
    results = {"command": "explain", "stages": reports, "config": OmegaConf.to_container(cfg, resolve=True)}
    if cfg.output_dir is not None:
        Path(cfg.output_dir).mkdir(parents=True, exist_ok=True)
        write_results(Path(cfg.output_dir), results)
    return results


def _title(plan: Plan, number: int, stages: int) -> str:
    recipe = f"Recipe {plan.stage.cfg.recipe_name} on {plan.task.name}"
    return recipe if stages == 1 else f"{recipe}, stage {number} of {stages}: {plan.stage.name}"


def _measure(cfg: DictConfig) -> dict[str, Any]:
    cfg = cfg.copy()
    OmegaConf.set_struct(cfg, False)  # conf/trainer does not name all of these
    cfg.trainer = OmegaConf.merge(cfg.trainer, ONE_STEP)
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        job = DistillationSetup.prepare(cfg, Path(folder))
        move_teachers(job)
        fit_maps_of(job, cfg.seed, None)
        trainer = trainer_of(cfg, job, {}, found.append)
        trainer.train()
        trainer.model.detach()
    return found[0]
