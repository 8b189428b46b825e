"""Upload a finished run to the Hugging Face Hub: the model, its tokenizer, its card and results.json."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from huggingface_hub import HfApi

from kdfeatures.errors import UserError, first_line
from kdfeatures.hub.reach import require_upload
from kdfeatures.runs.publishing.model_card import write_card
from kdfeatures.runs.publishing.provenance import public
from kdfeatures.runs.results import write_results
from kdfeatures.tasks.task import Task
from kdfeatures.training.distributed import is_first

# of a run's folder; what a Trainer leaves beside them tells paths and serves nobody else
UPLOADED = (
    "config.json",
    "generation_config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",  # sentencepiece
)
OF_LOADING = ("name_or_path", "is_local", "local_files_only")  # in tokenizer_config.json: where it was read from


def check_upload(repository: str | None) -> None:
    """Raise UserError before a run when it can be known that nothing could be uploaded."""
    if repository is not None:
        require_upload(repository, f"push_to_hub={repository}")


def push_finished(
    folder: Path, repository: str | None, results: Mapping[str, Any] | None, task: Task, *, private: bool | None
) -> str | None:
    """Upload a finished run, if a repository is named, and return the address. Of several processes the first does it.

    Raises UserError when that fails: the run is not lost, and existing=resume uploads it.
    """
    if repository is None or results is None or not is_first():
        return None
    try:
        return push(folder, repository, results, task, private=private)
    except Exception as error:  # every HTTP client has its own errors, and the run must not seem lost
        raise UserError(
            f"push_to_hub={repository}: the run is finished in {folder}, but was not uploaded: {first_line(error)}; "
            "go on with existing=resume."
        ) from error


def push(folder: Path, repository: str, results: Mapping[str, Any], task: Task, *, private: bool | None = None) -> str:
    """Upload the model in `folder`, and return the address. A repository is made where there is none.

    private: of one that is made; None leaves it to the Hub, where it is public unless the organisation decides else.
    What is uploaded names no path of this machine: see kdfeatures.runs.publishing.provenance.
    """
    with TemporaryDirectory() as staged:
        stage(folder, Path(staged), repository, results, task)
        api = HfApi()
        url = str(api.create_repo(repository, exist_ok=True, private=private))
        api.upload_folder(repo_id=repository, folder_path=staged, commit_message=f"Upload {results['command']} run")
    return url


def stage(folder: Path, staged: Path, repository: str, results: Mapping[str, Any], task: Task) -> None:
    """Put what is uploaded of a run's folder into another one."""
    for pattern in UPLOADED:
        for file in folder.glob(pattern):
            shutil.copyfile(file, staged / file.name)
    settings = staged / "tokenizer_config.json"
    if settings.is_file():
        options = {key: value for key, value in json.loads(settings.read_text()).items() if key not in OF_LOADING}
        settings.write_text(json.dumps(options, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    write_card(staged, results, task, name=repository, run=folder)
    write_results(staged, public(results, results.get("hub")))
