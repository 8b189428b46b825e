"""The output folder of a run: what may be written there, and where a stopped run goes on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers.trainer_utils import get_last_checkpoint

from kdfeatures.errors import UserError, nearest
from kdfeatures.runs.config_diff import first_difference
from kdfeatures.runs.moved_options import current_config
from kdfeatures.runs.results import FILE, read_results
from kdfeatures.training.distributed import is_first

EXISTING = ("refuse", "resume", "overwrite")
# beginnings of options that say how a run is called, watched and published, not what comes of it
OF_CALL = (
    "existing", "output_dir", "push_to_hub", "hub_private", "trainer.disable_tqdm", "trainer.logging",
    "trainer.report_to", "trainer.run_name", "trainer.save_", "trainer.dataloader_",
)  # fmt: skip
STAGES = "stages"  # the folder with those of a run in several stages
DATA = "data"  # that of examples which a run was given in memory


def open_output(folder: Path, existing: str) -> str | None:
    """Make sure that a run may write to `folder`, and return the checkpoint to go on from, or None.

    existing: what to do when the folder already holds a run. Raises UserError when it does and this is "refuse".
    Of several processes one clears the folder. None writes there before all have been here: training begins together.
    """
    if existing not in EXISTING:
        raise UserError(
            f"existing={existing} is unknown{nearest(existing, EXISTING)}; choose from {', '.join(EXISTING)}."
        )
    if existing == "refuse":
        refuse_run(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if existing == "overwrite":
        if is_first():
            _clear(folder)
        return None
    return last_checkpoint(folder)


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
    checkpoint = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    holds = [name for name in (FILE, "model.safetensors", STAGES) if (folder / name).exists()]
    if checkpoint and not holds:
        holds = [Path(checkpoint).name]
    if holds:
        raise UserError(
            f"output_dir={folder} already holds a run ({', '.join(holds)}); go on with existing=resume, start anew "
            "with existing=overwrite, or choose another folder."
        )


def finished_results(folder: Path, existing: str, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the results of the finished run that existing=resume finds in `folder`; None where there is none.

    config: what is asked for now, resolved. Raises UserError when the run was another one, whose results would be taken
    for these.
    """
    if existing != "resume" or not is_finished(folder):
        return None
    results = read_results(folder)
    then, now = current_config(results["config"]), config
    skipped = (*OF_CALL, "teacher.path") if _has_trained_teacher(folder, then, now) else OF_CALL
    changed = first_difference(then, now, lambda name: not name.startswith(skipped))
    if changed:
        raise UserError(
            f"output_dir={folder} holds a finished run with {changed}; choose another folder, or existing=overwrite to "
            "replace it."
        )
    return results


def _has_trained_teacher(folder: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    of_then, of_now = ((config.get("teacher") or {}).get("path") for config in (then, now))
    return of_now is None and of_then is not None and Path(of_then).resolve() == (folder / "teacher").resolve()


def is_finished(folder: Path) -> bool:
    """True when the run in `folder` has written its results."""
    return (folder / FILE).exists()


def _clear(folder: Path) -> None:
    for path in (*folder.glob("checkpoint-*"), *folder.glob(STAGES)):
        shutil.rmtree(path)
    for name in (FILE, "model.safetensors", "projections.safetensors", "trainer_state.json"):
        (folder / name).unlink(missing_ok=True)
