"""Upload a finished run to the Hugging Face Hub: the model, its tokenizer, its card and results.json."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from huggingface_hub import HfApi
from omegaconf import DictConfig, OmegaConf

from kdfeatures.errors import UserError
from kdfeatures.hub import require_upload
from kdfeatures.runs.model_card import write_card
from kdfeatures.runs.provenance import public
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
Run = Callable[[DictConfig, Path], "dict[str, Any] | None"]


def pushed(run: Run) -> Run:
    """Make a command upload its folder to cfg.push_to_hub, if that is not null, once the run is finished.

    Raises UserError before the run when it can be known that nothing could be uploaded. A finished run whose upload
    failed is uploaded by existing=resume.
    """

    @wraps(run)
    def run_and_push(cfg: DictConfig, output_dir: Path) -> dict[str, Any] | None:
        repository = cfg.push_to_hub
        if repository is None:
            return run(cfg, output_dir)
        option = f"push_to_hub={repository}"
        if not isinstance(repository, str):
            raise UserError(f"{option} must be a repository, ORGANISATION/NAME, or null.")
        if cfg.hub_private not in (None, True, False):
            raise UserError(f"hub_private={cfg.hub_private} must be true, false or null.")
        require_upload(repository, option)
        results = run(cfg, output_dir)
        if is_first():
            try:
                task = Task.from_config(OmegaConf.to_container(cfg.task))
                url = push(output_dir, repository, results, task, private=cfg.hub_private)
            except Exception as error:  # every HTTP client has its own errors, and the run must not seem lost
                told = (str(error).strip() or type(error).__name__).splitlines()[0]
                raise UserError(
                    f"{option}: the run is finished in {output_dir}, but was not uploaded: {told}; "
                    "go on with existing=resume."
                ) from error
            print(f"Uploaded to {url}")
        return results

    return run_and_push


def push(folder: Path, repository: str, results: Mapping[str, Any], task: Task, *, private: bool | None = None) -> str:
    """Upload the model in `folder`, and return the address. A repository is made where there is none.

    private: of one that is made; None leaves it to the Hub, where it is public unless the organisation decides else.
    What is uploaded names no path of this machine: see kdfeatures.runs.provenance.
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
        kept = {key: value for key, value in json.loads(settings.read_text()).items() if key not in OF_LOADING}
        settings.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    write_card(staged, results, task, name=repository)
    write_results(staged, public(results, results.get("hub")))
