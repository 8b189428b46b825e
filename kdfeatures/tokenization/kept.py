"""Large splits are tokenised once: what came of it is kept on disk and mapped from there by later runs."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from datasets import Dataset, load_from_disk
from transformers import PreTrainedTokenizerBase

from kdfeatures.checksums import hash_of, modules_hash
from kdfeatures.evaluation.encoded import no_progress_bars
from kdfeatures.files import user_cache
from kdfeatures.tasks import registry
from kdfeatures.tokenization.rows_hash import rows_hash
from kdfeatures.tokenization.tokenizer_hash import tokenizer_hash

WORTH_KEEPING = 20_000  # examples: fewer are tokenised in a second or two
FOLDER = "tokenised"
LIBRARIES = ("transformers", "tokenizers", "datasets")


def kept(
    examples: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    facts: Mapping[str, Any],
    make: Callable[[], Dataset],
) -> Dataset:
    """Return what `make` makes of a split, from $KDFEATURES_CACHE/tokenised if it was made before.

    facts: what else it depends on, as JSON can hold it; the code of kdfeatures.tasks and the versions of the libraries
    count too. Splits of fewer than WORTH_KEEPING examples, and tokenizers written in Python, whose settings cannot be
    told, are not kept; neither is anything where the folder cannot be written.
    """
    if len(examples) < WORTH_KEEPING or not tokenizer.is_fast:
        return make()
    folder = user_cache() / FOLDER / _key(examples, tokenizer, facts)
    if folder.is_dir():
        loaded: Dataset = load_from_disk(folder)
        return loaded
    made = make()
    unfinished = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    try:
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        with no_progress_bars():
            made.save_to_disk(unfinished)
        unfinished.rename(folder)
    except OSError:  # a full or read-only disk, or another process was first
        shutil.rmtree(unfinished, ignore_errors=True)
    return made


def _key(examples: Dataset, tokenizer: PreTrainedTokenizerBase, facts: Mapping[str, Any]) -> str:
    of_calls = [tokenizer.truncation_side, tokenizer.padding_side, *tokenizer.model_input_names]
    described = [facts, of_calls, [version(name) for name in LIBRARIES]]
    code = modules_hash(Path(registry.__file__).parent)  # that turn texts into examples
    return hash_of(
        json.dumps(described, sort_keys=True, default=str), tokenizer_hash(tokenizer), code, rows_hash(examples)
    )
