"""A distillation: the teacher is scored and checked, the student trained and scored, both reported; stage by stage."""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from datasets import IterableDataset
from torch import nn
from transformers import Trainer, TrainerState

from kdfeatures.cache import (
    DECODER_STATES,
    CachedCollator,
    CachedTeachers,
    FeatureCache,
    logits_for,
    needed,
    with_rows,
)
from kdfeatures.config.settings import DistillSettings, StageSettings
from kdfeatures.config.terms.auto import AUTO
from kdfeatures.data.inputs import AUGMENTED
from kdfeatures.data.predictions_file import POOL
from kdfeatures.distillation.distiller import Distiller
from kdfeatures.mapping.pairs import DEFAULT_TEACHER
from kdfeatures.models.load import move
from kdfeatures.models.students import StudentSpec
from kdfeatures.pipelines.finetune import run_finetuning
from kdfeatures.pipelines.outputs import of_training, results_of, save_run
from kdfeatures.pipelines.plan import plan_stages
from kdfeatures.pipelines.prepare import DistillationSetup
from kdfeatures.pipelines.scores import counts_of, predict_splits, scores_of, trained_answers
from kdfeatures.pipelines.teachers import (
    caches_of,
    check_teachers,
    describe_teachers,
    fit_maps_of,
    fit_projections_of,
    mapping_of,
    move_teachers,
    ranks_of,
    teacher_logits,
)
from kdfeatures.runs.folder import alone_in_output, begin_run, finished_results, open_output
from kdfeatures.runs.loss_tables import LEGEND, first_batch_text, report_text
from kdfeatures.runs.manifest import MANIFEST, STAGES
from kdfeatures.runs.publishing.model_card import write_card
from kdfeatures.runs.publishing.upload import check_upload, push_finished
from kdfeatures.runs.results import FILE, describe_model, retained
from kdfeatures.runs.run_results import RunResults
from kdfeatures.runs.stage_configs import merged
from kdfeatures.tokenization.both_collator import BothCollator
from kdfeatures.tokenization.teacher_columns import of_teacher
from kdfeatures.training.build import STATE, make_trainer, train
from kdfeatures.training.calibration import heads_of
from kdfeatures.training.callbacks import AfterEpochs, maps_of
from kdfeatures.training.distributed import is_first
from kdfeatures.training.fsdp import whole
from kdfeatures.training.trainer import DistillationTrainer, take_projections

logger = logging.getLogger(__name__)

EXAMPLES = ("train_examples", "labelled_examples", "pool_examples", "augmented_examples")
OF_STAGE = ("seconds", "losses", "mapping", "maps", "heads", *EXAMPLES, "padding", "report")


@alone_in_output
def run_distillation(
    settings: DistillSettings, output_dir: Path, on_epoch: Callable[[int, float], None] | None = None
) -> RunResults | None:
    """Distil the teacher into a student by the settings' terms and stages, and return the results.

    on_epoch: called after every epoch with how many there have been, those of stages before included, and the
    student's score on settings.split by the task's main metric; of stages only in the last one, as only its students
    answer. What it raises ends the run.

    Everything is checked before training starts. A stage lies in its own folder below output_dir/stages, and starts
    from the student and the projections of those before it; the last student is the run's. With existing=resume
    finished stages are not run again, and the next goes on from its last checkpoint. Of several processes the first
    evaluates and returns the results, the others None.
    """
    check_upload(settings.output.push_to_hub)
    checkpoint = open_output(output_dir, settings.output.existing, settings.record)
    finished = finished_results(output_dir, settings.output.existing, settings.record)
    if finished is None:
        results = _run(settings, output_dir, checkpoint, None if on_epoch is None else partial(_in_epochs, on_epoch))
    else:
        results = RunResults.from_dict(finished)
    written = None if results is None else results.as_dict()
    url = push_finished(
        output_dir, settings.output.push_to_hub, written, settings.task, private=settings.output.hub_private
    )
    if url is not None:
        logger.info(f"Uploaded to {url}")
    return results


def _run(
    settings: DistillSettings,
    output_dir: Path,
    checkpoint: str | None,
    on_epoch: Callable[[float, float], None] | None,
) -> RunResults | None:
    plan_stages(settings, output_dir)
    if settings.stages[0].recipe == AUTO:
        logger.info(f"recipe={AUTO} has for models of these sizes the terms {', '.join(settings.record['losses'])}.")
    if settings.teacher_training is not None:
        settings = with_teacher(settings, _train_teacher(settings, output_dir))
        plan_stages(settings, output_dir)
    if not settings.has_stages:
        existing = settings.output.existing
        return distill_stage(settings.stages[0], output_dir, checkpoint, existing=existing, on_epoch=on_epoch)
    return _run_stages(settings, output_dir, on_epoch)


def with_teacher(settings: DistillSettings, path: str) -> DistillSettings:
    """Return the settings with a teacher that is there by now."""
    changes = {"teacher": {"path": path}}
    stages = [
        replace(stage, teacher=replace(stage.teacher, path=path), record=merged(stage.record, changes))
        for stage in settings.stages
    ]
    return replace(settings, stages=stages, teacher_training=None, record=merged(settings.record, changes))


def _train_teacher(settings: DistillSettings, output_dir: Path) -> str:
    assert settings.teacher_training is not None
    folder = output_dir / "teacher"
    logger.info(f"No teacher.path given: training a teacher for the generated task '{settings.task.name}' in {folder}.")
    run_finetuning(settings.teacher_training, folder)
    return str(folder)


def distill_stage(
    stage: StageSettings,
    output_dir: Path,
    checkpoint: str | None,
    *,
    existing: str,
    earlier: Sequence[Path] = (),
    begin: Callable[[], None] | None = None,
    on_epoch: Callable[[float, float], None] | None = None,
) -> RunResults | None:
    """Train a student in `output_dir`, from a checkpoint there if there is one, and write its results.

    stage: its teacher is there. existing: see kdfeatures.runs.folder. earlier: folders of earlier stages, the latest
    last, whose projections are taken over. begin: called once all is checked, before anything is written. on_epoch: see
    run_distillation.
    Of several processes the first evaluates and returns the results, the others None.
    """
    start = time.monotonic()
    setup = DistillationSetup.prepare(stage, output_dir)
    take_projections(setup.objective, earlier)
    move_teachers(setup)
    fit_maps_of(setup, stage.seed, checkpoint)
    caches = caches_of(setup)
    of_teachers = teacher_logits(setup, caches)
    if is_first() and setup.task.has_labels and not stage.teacher.force and setup.objective.needs_teacher:
        check_teachers(of_teachers, setup, stage.split)
    report = setup.report() if stage.explain else None
    text = setup.maps_text() if report is None else f"{LEGEND}\n\n{report_text(report)}"
    if text and is_first():
        logger.info(text)
    trainer = trainer_of(stage, setup, caches, None if report is None else partial(_add_first_batch, report))
    if on_epoch is not None:
        trainer.add_callback(AfterEpochs(partial(_tell_score, setup, stage.split, on_epoch)))
    if begin is not None:
        begin()
    begin_run(output_dir, existing, stage.record)
    seconds = train(trainer, checkpoint)
    trainer.distiller.detach()
    if not is_first():
        return None
    student, task = whole(setup.student, trainer, setup.task), setup.task
    logits = trained_answers(task, trainer, student, setup.reported, setup.tokenizer, title="student")
    student_scores = scores_of(logits, setup.reported, task)
    teachers = describe_teachers(setup, of_teachers)
    metric = task.main_metric
    score, reference = student_scores.get(stage.split), teachers["teacher"]["metrics"].get(stage.split)
    results = results_of(
        "distill",
        stage.record,
        task,
        start,
        recipe=stage.recipe,
        mapping=mapping_of(setup, DEFAULT_TEACHER),
        maps=maps_of(setup.objective, trainer),
        heads=heads_of(setup.objective),
        student=describe_model(str(output_dir), student, student_scores),
        retained=retained(score[metric], reference[metric]) if metric and score and reference else None,
        train_examples=_examples(setup, trainer),
        labelled_examples=int(setup.labelled.sum()) if setup.objective.needs_labels else 0,
        pool_examples=setup.added.get(POOL, 0),
        augmented_examples=setup.added.get(AUGMENTED, 0),
        examples=counts_of(setup.reported, task),
        truncated=setup.truncated,
        copied_layers=setup.copied_layers,
        vocabulary=setup.vocabulary,
        **teachers,
        report=report,
        **of_training(trainer, seconds),
    )
    save_run(output_dir, results, task, logits, setup.reported)
    return results


def _in_epochs(on_epoch: Callable[[int, float], None], epochs: float, score: float) -> None:
    on_epoch(math.ceil(epochs - 1e-6), score)


def _tell_score(setup: DistillationSetup, split: str, on_epoch: Callable[[float, float], None], epochs: float) -> None:
    task, reported = setup.task, {split: setup.reported[split]}
    assert task.main_metric is not None  # as of all tasks with labels
    batch_size = setup.arguments.per_device_eval_batch_size
    logits = predict_splits(
        task, setup.student, reported, setup.tokenizer, None, batch_size=batch_size, title="student"
    )
    setup.student.train()
    on_epoch(epochs, scores_of(logits, reported, task)[split][task.main_metric])


def _examples(setup: DistillationSetup, trainer: Trainer) -> int:
    """How many examples there are; of a stream, how many were read."""
    if isinstance(setup.examples, IterableDataset):
        arguments = setup.arguments
        step = arguments.train_batch_size * arguments.gradient_accumulation_steps * arguments.world_size
        return trainer.state.global_step * step
    return len(setup.examples)


def trainer_of(
    stage: StageSettings,
    setup: DistillationSetup,
    caches: Mapping[str, FeatureCache],
    on_first_batch: Callable[[dict[str, Any]], None] | None,
) -> DistillationTrainer:
    """Fit projections, and return the Trainer of the student, which learns from the caches where there are any."""
    assert stage.trainer is not None
    fit_projections_of(setup, stage.seed)
    objective, examples = setup.objective, setup.examples
    learned_from = [name for name in setup.teachers if objective.needs(name)]
    cached: Any = None
    decoders: dict[str, nn.Linear] = {}
    if setup.outputs is not None and learned_from:
        cached = setup.outputs  # its examples have their rows
    elif caches and learned_from:
        logits = logits_for(setup.task)
        features = {
            name: caches[name].features(
                of_teacher(examples, name), needed(objective, name, logits=logits), **ranks_of(setup)
            )
            for name in learned_from
        }
        cached = CachedTeachers(features) if len(setup.teachers) > 1 else features[DEFAULT_TEACHER]
        examples = with_rows(examples)
        if logits == DECODER_STATES:
            decoders = {name: setup.teachers[name].loaded.get_output_embeddings() for name in learned_from}
        for teacher in setup.teachers.values():
            move(teacher.loaded, "cpu")  # training does without them
    models = {name: None if cached is not None else teacher.model for name, teacher in setup.teachers.items()}
    columns = {name: teacher.columns for name, teacher in setup.teachers.items()}
    permuted = [name for name, teacher in setup.teachers.items() if teacher.permuted]
    distiller = Distiller(
        setup.student, models, objective, columns, permuted=permuted, same_ids=True, teacher_decoders=decoders
    )
    trainer = make_trainer(
        distiller,
        setup.arguments,
        stage.trainer,
        setup.task,
        setup.tokenizer,
        examples,
        setup.validation,
        on_first_batch,
    )
    assert isinstance(trainer, DistillationTrainer)
    if setup.other_tokenizers:
        trainer.data_collator = BothCollator(trainer.data_collator, setup.other_tokenizers)
    if cached is not None:
        trainer.data_collator = CachedCollator(trainer.data_collator, cached)
    return trainer


def _add_first_batch(report: dict[str, Any], measured: dict[str, Any]) -> None:
    report["first_batch"] = measured
    if is_first():
        logger.info(f"\n{first_batch_text(measured)}\n")


def _run_stages(
    settings: DistillSettings, output_dir: Path, on_epoch: Callable[[float, float], None] | None
) -> RunResults | None:
    finished: list[Path] = []
    results_by_stage: list[RunResults | None] = []
    existing = settings.output.existing
    for number, planned in enumerate(settings.stages, 1):
        folder = output_dir / STAGES / f"{number}-{planned.name}"
        logger.info(f"Stage {number} of {len(settings.stages)}: {planned.name}")
        stage, earlier = planned, finished
        if stage.born_again:
            stage, earlier = _next_generation(stage, finished[-1], number), []
        elif finished:
            stage = _continue_from(stage, finished[-1])
        checkpoint = open_output(folder, existing, stage.record)
        saved = finished_results(folder, existing, stage.record)
        results_by_stage.append(
            RunResults.from_dict(saved)
            if saved is not None
            else distill_stage(
                stage,
                folder,
                checkpoint,
                existing=existing,
                earlier=earlier,
                begin=None if finished else partial(begin_run, output_dir, existing, settings.record),
                on_epoch=_after(finished, on_epoch) if number == len(settings.stages) else None,
            )
        )
        finished.append(folder)
    if not is_first():
        return None
    return _conclude(settings, [results for results in results_by_stage if results], finished[-1], output_dir)


def _after(
    stages: Sequence[Path], on_epoch: Callable[[float, float], None] | None
) -> Callable[[float, float], None] | None:
    """Return on_epoch for the stage after those in these folders, counting the parts of epochs that they took, too."""
    if on_epoch is None:
        return None
    states = [TrainerState.load_from_json(str(folder / STATE)) for folder in stages]
    before = sum(state.epoch or 0.0 for state in states)
    return lambda epochs, score: on_epoch(before + epochs, score)


def _continue_from(stage: StageSettings, folder: Path) -> StageSettings:
    """Return a stage that begins with the student in `folder`."""
    inherited = {name: stage.record["student"][name] for name in ("init", "layer_share", "freeze_head")}
    student = dict.fromkeys(stage.record["student"]) | {"path": str(folder)} | inherited
    return replace(stage, student=StudentSpec(**student), record=merged(stage.record, {"student": student}))


def _next_generation(stage: StageSettings, folder: Path, number: int) -> StageSettings:
    """Return a stage in which the student in `folder` teaches a new one."""
    seed = stage.seed if stage.student.seed is None else stage.student.seed
    teacher = {"path": str(folder), "revision": None, "outputs": None, "id_column": None}
    student = {"seed": seed + number - 1}
    return replace(
        stage,
        teacher=replace(stage.teacher, path=str(folder), revision=None, outputs=None, id_column=None),
        student=replace(stage.student, seed=seed + number - 1),
        record=merged(stage.record, {"teacher": teacher, "student": student}),
    )


def _conclude(
    settings: DistillSettings, results_by_stage: Sequence[RunResults], last: Path, output_dir: Path
) -> RunResults:
    """Put the last stage's student and files into the run's folder, and the results of all stages into one."""
    for file in last.iterdir():
        if file.is_file() and not file.name.startswith((FILE, MANIFEST, "training_args", "trainer_state")):
            shutil.copyfile(file, output_dir / file.name)
    of_stages = [
        {"name": stage.name} | {key: getattr(results, key) for key in OF_STAGE} | {"metrics": results.student.metrics}
        for stage, results in zip(settings.stages, results_by_stage, strict=True)
    ]
    final = results_by_stage[-1]
    counts: dict[str, Any] = {of: max(getattr(results, of) or 0 for results in results_by_stage) for of in EXAMPLES}
    results = replace(
        final,
        mapping=sorted({tuple(pair) for of_stage in results_by_stage for pair in of_stage.mapping or ()}),
        student=replace(final.student, path=str(output_dir)),
        copied_layers=results_by_stage[0].copied_layers,
        vocabulary=results_by_stage[0].vocabulary,
        **counts,
        seconds={of: sum(of_stage.seconds[of] or 0.0 for of_stage in results_by_stage) for of in ("train", "total")},
        stages=of_stages,
        config=settings.record,
    )
    write_card(output_dir, results.as_dict(), settings.task)
    results.write(output_dir)
    return results
