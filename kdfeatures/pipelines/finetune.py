"""Fine-tuning: a model trained on labels, as a teacher or as a hard-label student."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import numpy as np
from transformers import set_seed

from kdfeatures.config.settings import FinetuneSettings
from kdfeatures.data.class_weights import set_class_weights
from kdfeatures.data.inputs import check_scored, joined, load_inputs
from kdfeatures.data.subsets import is_labelled
from kdfeatures.models.encoders import start_model
from kdfeatures.models.limits import check_inputs
from kdfeatures.pipelines.outputs import of_training, results_of, save_run
from kdfeatures.pipelines.scores import counts_of, scores_of, trained_answers
from kdfeatures.runs.folder import alone_in_output, begin_run, finished_results, open_output
from kdfeatures.runs.publishing.upload import check_upload, push_finished
from kdfeatures.runs.results import describe_model
from kdfeatures.runs.run_results import RunResults
from kdfeatures.training.build import make_trainer, train
from kdfeatures.training.distributed import is_first
from kdfeatures.training.fsdp import whole

logger = logging.getLogger(__name__)


@alone_in_output
def run_finetuning(settings: FinetuneSettings, output_dir: Path) -> RunResults | None:
    """Train the model on the labelled examples of the task; the folder is then a teacher for `distill`.

    Of several processes the first evaluates and returns the results, the others None.
    """
    check_upload(settings.output.push_to_hub)
    start = time.monotonic()
    set_seed(settings.seed)
    checkpoint = open_output(output_dir, settings.output.existing, settings.record)
    finished = finished_results(output_dir, settings.output.existing, settings.record)
    if finished is None:
        results = _run(settings, output_dir, checkpoint, start)
    else:
        results = RunResults.from_dict(finished)
    written = None if results is None else results.as_dict()
    url = push_finished(
        output_dir, settings.output.push_to_hub, written, settings.task, private=settings.output.hub_private
    )
    if url is not None:
        logger.info(f"Uploaded to {url}")
    return results


def _run(settings: FinetuneSettings, output_dir: Path, checkpoint: str | None, start: float) -> RunResults | None:
    task = settings.task
    classifier, tokenizer = start_model(settings.model, task)
    inputs = load_inputs(task, settings.data, tokenizer)
    reported, validation = inputs.reported(settings.split), inputs.validation()
    examples = joined(inputs.train(settings.data, settings.seed))
    if task.has_labels:
        examples = examples.select(np.flatnonzero(is_labelled(examples)))
    arguments = settings.trainer.training_arguments(
        output_dir, metric=task.main_metric, seed=settings.seed, find_unused_parameters=False
    )
    set_class_weights(settings.loss, task, examples, "class_weights")
    evaluates = arguments.eval_strategy != "no"
    check_scored(task, reported, validation, split=settings.split, evaluates=evaluates)
    check_inputs(classifier, f"model.path={settings.model.path}", [examples, validation, *reported.values()])
    trainer = make_trainer(
        classifier, arguments, settings.trainer, task, tokenizer, examples, validation, loss=settings.loss
    )
    begin_run(output_dir, settings.output.existing, settings.record)
    seconds = train(trainer, checkpoint)
    if not is_first():
        return None
    classifier = whole(classifier, trainer, task)
    logits = trained_answers(task, trainer, classifier, reported, tokenizer, title="model")
    results = results_of(
        "finetune",
        settings.record,
        task,
        start,
        student=describe_model(str(output_dir), classifier, scores_of(logits, reported, task)),
        train_examples=len(examples),
        labelled_examples=len(examples) if task.has_labels else 0,
        examples=counts_of(reported, task),
        truncated=inputs.truncated,
        **of_training(trainer, seconds),
    )
    save_run(output_dir, results, task, logits, reported)
    return results
