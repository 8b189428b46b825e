"""The files by which a folder of transformers is one of sentence-transformers, too.

Read and written are modules.json, 1_Pooling/config.json, sentence_bert_config.json and
config_sentence_transformers.json in the form that every version of sentence-transformers reads.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdfeatures.embeddings.pooling import MODES, Pooling
from kdfeatures.errors import UserError
from kdfeatures.files import write_whole
from kdfeatures.hub.models import small_files_folder

logger = logging.getLogger(__name__)

MODULES = "modules.json"
POOLING = "1_Pooling/config.json"
TEXTS = "sentence_bert_config.json"
FACTS = "config_sentence_transformers.json"
FLAGS = {  # of a pooling's config, by mode
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "max": "pooling_mode_max_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}


def read_pooling(path: str, option: str) -> Pooling:
    """Return how a folder, or a model on the Hub, makes a vector of a text.

    Without a modules.json the mean of the tokens, as sentence-transformers takes it then. Raises UserError for what
    would make other vectors than sentence-transformers does: modules beside an encoder in the folder itself, one
    pooling, and a normalisation; several poolings at once; a prompt before every text; texts put into lower case.
    """
    folder = Path(path) if Path(path).is_dir() else small_files_folder(path, option)
    modules = _read(folder / MODULES)
    if modules is None:
        logger.info(f"{option}={path} has no {MODULES}: a text's vector is the mean of its tokens, not normalised.")
        return Pooling()
    kinds = [str(module["type"]).rpartition(".")[-1] for module in modules]
    if kinds[:2] != ["Transformer", "Pooling"] or kinds[2:] not in ([], ["Normalize"]):
        raise UserError(
            f"{option}={path} is made of {', '.join(kinds)}; vectors are taken of a Transformer, a Pooling and perhaps "
            "a Normalize, in this order. Give a model without the others."
        )
    if modules[0]["path"]:
        raise UserError(
            f"{option}={path} keeps its encoder in the folder {modules[0]['path']}, as old versions of "
            "sentence-transformers did; load and save it with a newer one."
        )
    facts = _read(folder / FACTS) or {}
    name = facts.get("default_prompt_name")
    if name is not None and (facts.get("prompts") or {}).get(name):
        raise UserError(
            f"{option}={path} puts the prompt '{name}' before every text; give a copy with default_prompt_name null in "
            f"its {FACTS}, and texts that have the prompt."
        )
    texts = _read(folder / TEXTS) or {}
    if texts.get("do_lower_case"):
        raise UserError(
            f"{option}={path} puts texts into lower case before its tokenizer reads them (do_lower_case in {TEXTS}); "
            "give a copy whose tokenizer does it."
        )
    file = f"{modules[1]['path']}/config.json"
    config = _read(folder / file)
    if config is None:
        raise UserError(f"{option}={path} lacks {file}, which its {MODULES} names.")
    modes = _modes(config)
    if len(modes) != 1:
        raise UserError(f"{option}={path} joins the poolings {', '.join(modes)}; give a model with a single one.")
    if modes[0] not in MODES:
        raise UserError(f"{option}={path} has the pooling '{modes[0]}', which is none of {', '.join(MODES)}.")
    return Pooling(modes[0], kinds[2:] == ["Normalize"], texts.get("max_seq_length"))


def write_modules(folder: Path, pooling: Pooling, *, width: int, limit: int | None) -> None:
    """Let sentence-transformers load a saved encoder with its pooling.

    width: D. limit: tokens that the model takes; None for any number.
    """
    kinds = ["Transformer", "Pooling", *(["Normalize"] if pooling.normalize else [])]
    paths = ["", "1_Pooling", "2_Normalize"]
    modules = [
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for n, (kind, path) in enumerate(zip(kinds, paths, strict=False))
    ]
    longest = min((length for length in (pooling.max_length, limit) if length is not None), default=None)
    flags = {flag: mode == pooling.mode for mode, flag in FLAGS.items()}
    (folder / "1_Pooling").mkdir(parents=True, exist_ok=True)
    _write(folder / POOLING, {"word_embedding_dimension": width, **flags})
    _write(folder / TEXTS, {"max_seq_length": longest, "do_lower_case": False})
    _write(folder / MODULES, modules)


def _modes(config: Mapping[str, Any]) -> list[str]:
    """Return the names of the poolings in a config of any version."""
    given = config.get("pooling_mode")
    if given is None:
        return [mode for mode, flag in FLAGS.items() if config.get(flag)] or ["mean"]
    return [given] if isinstance(given, str) else list(given)


def _read(file: Path) -> Any:
    if not file.is_file():
        return None
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file} is no JSON: {error}") from error


def _write(file: Path, content: Any) -> None:
    write_whole(file, json.dumps(content, indent=2))
