"""kdfeatures push: the files and the card of a finished run, shown, and with dry_run=false uploaded to the Hub."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from omegaconf import DictConfig

from kdfeatures.config.load import task_of
from kdfeatures.config.options import PushOptions, options
from kdfeatures.config.paths import NOWHERE
from kdfeatures.config.schema import plain_config
from kdfeatures.errors import UserError, first_line
from kdfeatures.hub.reach import check_repository, require_upload
from kdfeatures.runs.moved_options import current_config
from kdfeatures.runs.publishing.upload import push, stage
from kdfeatures.runs.results import markdown, read_results

CARD = "README.md"
MODELS = ("finetune", "distill")  # commands whose runs hold a model


def check(cfg: DictConfig) -> None:
    """Raise UserError for what `run` would refuse by its options, and for a folder that holds no finished run."""
    chosen = options(plain_config(cfg, NOWHERE), PushOptions)
    if chosen.run is None or chosen.repository is None:
        raise UserError("nothing to push: say which run and where, kdfeatures push RUN ORGANISATION/NAME.")
    check_repository(chosen.repository, f"repository={chosen.repository}")
    _results(Path(chosen.run))


def run(cfg: DictConfig, output_dir: Path) -> dict[str, Any]:
    """Print the files with their sizes and the card; upload them unless it is a dry run."""
    folder, repository = Path(cfg.run), cfg.repository
    results = _results(folder)
    task = task_of(current_config(results["config"]))
    if not cfg.dry_run:
        require_upload(repository, f"repository={repository}")
    with TemporaryDirectory() as staged:
        stage(folder, Path(staged), repository, results, task)
        files = sorted(Path(staged).iterdir())
        sizes = {file.name: file.stat().st_size for file in files}
        card = (Path(staged) / CARD).read_text(encoding="utf-8")
    print(f"\n{CARD}:\n\n{card}\n{_table(sizes)}\n")
    if cfg.dry_run:
        print(f"Nothing was uploaded; dry_run=false uploads these to {repository}.")
        return {"command": "push", "files": sizes, "url": None}
    try:
        url = push(folder, repository, results, task, private=cfg.hub_private)
    except Exception as error:  # every HTTP client has its own errors
        raise UserError(
            f"repository={repository}: the run in {folder} was not uploaded: {first_line(error)}"
        ) from error
    print(f"Uploaded to {url}")
    return {"command": "push", "files": sizes, "url": url}


def _results(folder: Path) -> dict[str, Any]:
    """Return the results of the run in a folder; raises UserError unless it is finished and holds a model."""
    if not folder.is_dir():
        raise UserError(f"run={folder} is no folder; say which run, kdfeatures push RUN ORGANISATION/NAME.")
    results = read_results(folder)
    if results.get("command") not in MODELS or not (folder / "config.json").is_file():
        raise UserError(
            f"run={folder} is of {results.get('command')} and holds no model to upload; give a run of finetune or "
            "distill."
        )
    return results


def _table(sizes: dict[str, int]) -> str:
    rows = [{"file": name, "size": _size(count)} for name, count in sizes.items()]
    return markdown([*rows, {"file": "in all", "size": _size(sum(sizes.values()))}])


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
