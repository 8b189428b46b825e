"""A teacher's answers on the splits that are scored: kept on disk, as the runs of a grid ask the same ones for them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

import kdfeatures.errors
from kdfeatures.cache.arrays import DTYPES, BrokenFile, open_array, write_array
from kdfeatures.cache.key import identity
from kdfeatures.checksums import hash_of, modules_hash
from kdfeatures.files import unfinished, user_cache
from kdfeatures.tasks.task import Task
from kdfeatures.tokenization.rows_hash import rows_hash

logger = logging.getLogger(__name__)

FOLDER = "answers"


def kept_answers(
    model: PreTrainedModel,
    split: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    columns: Sequence[int] | None,
    make: Callable[[], np.ndarray],
    *,
    task: Task,
    batch_size: int,
    title: str,
) -> np.ndarray:
    """Return what `make` answers on an encoded split, from $KDFEATURES_CACHE/answers if it was asked before.

    Before means: the same weights, rows, tokenizer, order of classes, task and batch size, on the same kind of device
    in the same number of threads, by this version of kdfeatures, torch and transformers; so the answers are those that
    `make` would give, to the last bit. Nothing is kept where the folder cannot be written, and what is damaged there is
    asked for again. title: what the log calls the answers.
    """
    facts = [repr(task), columns, batch_size, _machine(model), identity(model, tokenizer, "float32")]
    code = modules_hash(Path(kdfeatures.errors.__file__).parent)
    file = user_cache() / FOLDER / hash_of(json.dumps(facts, sort_keys=True), rows_hash(split), code)
    try:
        answers = open_array(file, verify=True)[0].numpy()
    except BrokenFile:  # or none
        pass
    else:
        logger.info(f"Answers of the {title}: kept since an earlier run in {file.parent}.")
        return answers
    answers = make()
    if str(answers.dtype) in DTYPES and answers.size:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with unfinished(file) as path:
                write_array(path, torch.from_numpy(answers), str(answers.dtype))
        except OSError as error:  # a full or read-only disk
            logger.debug(f"Answers of the {title} are not kept: {error}")
    return answers


def _machine(model: PreTrainedModel) -> list[Any]:
    """Return what the last bits of an answer depend on besides the model."""
    on = model.device
    return [
        torch.cuda.get_device_name(on) if on.type == "cuda" else on.type,
        torch.backends.cpu.get_cpu_capability(),
        torch.get_num_threads(),
        torch.get_float32_matmul_precision(),
        model._compiled_call_impl is not None,
    ]
