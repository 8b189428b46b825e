"""The output folder of a run: what may be written there, and where a stopped run goes on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers.trainer_utils import get_last_checkpoint

from kdfeatures.errors import UserError, nearest
from kdfeatures.runs.config_diff import first_difference, flat
from kdfeatures.runs.manifest import MANIFEST, REPLACED, STAGES, begin, check_unlike, is_own, read_manifest
from kdfeatures.runs.moved_options import current_config
from kdfeatures.runs.results import FILE, read_results
from kdfeatures.training.distributed import is_first

EXISTING = ("refuse", "resume", "overwrite")
# beginnings of options that say how a run is called, watched and published, not what comes of it
OF_CALL = (
    "existing", "output_dir", "push_to_hub", "hub_private", "trainer.disable_tqdm", "trainer.logging",
    "trainer.report_to", "trainer.run_name", "trainer.save_", "trainer.dataloader_",
)  # fmt: skip
READ = ("model.path", "teacher.path", "student.path", "before.path", "teacher.outputs", "data.pool")


def open_output(folder: Path, existing: str, config: Mapping[str, Any]) -> str | None:
    """Check that a run may write to `folder`, make it, and return the checkpoint to go on from, or None.

    existing: what to do when the folder already holds a run. config: the run's, resolved. Nothing is removed before
    `begin_run`. Raises UserError when the folder holds a run and this is "refuse"; when an unfinished one is to be
    resumed with other settings; when what is to be overwritten is no run; and when the run would write over what it
    reads.
    """
    if existing not in EXISTING:
        raise UserError(
            f"existing={existing} is unknown{nearest(existing, EXISTING)}; choose from {', '.join(EXISTING)}."
        )
    check_unlike(folder, reads_of(config), replace=existing == "overwrite")
    if existing == "refuse":
        refuse_run(folder)
    if existing == "overwrite":
        holds = _run_files(folder)
        if holds and not is_own(folder):
            raise UserError(
                f"output_dir={folder} holds {', '.join(holds)}, which no run of kdfeatures says it made, so it is not "
                "overwritten; choose another folder."
            )
    manifest = read_manifest(folder)
    if existing == "resume" and manifest is not None and not is_finished(folder):
        _check_same(folder, "an unfinished run", manifest["config"], config)
    folder.mkdir(parents=True, exist_ok=True)
    return last_checkpoint(folder) if existing == "resume" else None


def begin_run(folder: Path, existing: str, config: Mapping[str, Any]) -> None:
    """Set aside what a run made there that is to be overwritten, and leave the manifest of this one.

    After all checks, before anything is written. Of several processes the first does it, and none goes on before.
    """
    if is_first():
        begin(folder, config, replace=existing == "overwrite")
    PartialState().wait_for_everyone()


def reads_of(config: Mapping[str, Any]) -> dict[str, Path]:
    """Return the models and stored answers that a run with this config reads, and that lie on this machine."""
    paths = {}
    for name, value in flat(config).items():
        is_model = name.endswith(".path") and name.split(".")[0] in (
            "model",
            "teacher",
            "teachers",
            "student",
            "before",
        )
        if isinstance(value, str) and (is_model or name in ("teacher.outputs", "data.pool")) and Path(value).exists():
            paths[name] = Path(value)
    return paths


def last_checkpoint(folder: Path) -> str | None:
    """Return the newest checkpoint that was written to its end, or None: a run may be killed while it saves one.

    The Trainer writes trainer_state.json last; a later save replaces what is left of a half one.
    """
    checkpoints = [path for path in folder.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdecimal()]
    by_step = sorted(checkpoints, key=lambda path: int(path.name.removeprefix("checkpoint-")), reverse=True)
    return next((str(path) for path in by_step if _is_whole(path)), None)


def _is_whole(checkpoint: Path) -> bool:
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return False
    return True


def drop_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a finished run and of its stages: three times the model each, and of no more use."""
    for checkpoint in (*folder.glob("checkpoint-*"), *folder.glob(f"{STAGES}/*/checkpoint-*")):
        shutil.rmtree(checkpoint)


def refuse_run(folder: Path) -> None:
    """Raise UserError when `folder` holds a run, finished or not."""
    holds = _run_files(folder)
    if holds:
        raise UserError(
            f"output_dir={folder} already holds a run ({', '.join(holds)}); go on with existing=resume, start anew "
            "with existing=overwrite, or choose another folder."
        )


def _run_files(folder: Path) -> list[str]:
    """Return what tells that a folder holds a run, or a model."""
    holds = [name for name in (FILE, "model.safetensors", STAGES) if (folder / name).exists()]
    checkpoint = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    if checkpoint and not holds:
        holds = [Path(checkpoint).name]
    return holds or [name for name in (MANIFEST, REPLACED) if (folder / name).exists()]


def finished_results(folder: Path, existing: str, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the results of the finished run that existing=resume finds in `folder`; None where there is none.

    config: what is asked for now, resolved. Raises UserError when the run was another one, whose results would be taken
    for these.
    """
    if existing != "resume" or not is_finished(folder):
        return None
    results = read_results(folder)
    _check_same(folder, "a finished run", results["config"], config)
    return results


def _check_same(folder: Path, what: str, saved: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    then = current_config(saved)
    skipped = (*OF_CALL, "teacher.path") if _has_trained_teacher(folder, then, now) else OF_CALL
    changed = first_difference(then, now, lambda name: not name.startswith(skipped))
    if changed:
        raise UserError(
            f"output_dir={folder} holds {what} with {changed}; choose another folder, or existing=overwrite to replace "
            "it."
        )


def _has_trained_teacher(folder: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    of_then, of_now = ((config.get("teacher") or {}).get("path") for config in (then, now))
    return of_now is None and of_then is not None and Path(of_then).resolve() == (folder / "teacher").resolve()


def is_finished(folder: Path) -> bool:
    """True when the run in `folder` has written its results."""
    return (folder / FILE).exists()
