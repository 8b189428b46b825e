"""The output folder of a run: what may be written there, and where a stopped run goes on."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from accelerate import PartialState
from transformers.trainer_utils import get_last_checkpoint

from kdfeatures import checksums
from kdfeatures.errors import UserError, nearest
from kdfeatures.files import one_at_a_time
from kdfeatures.runs.config_diff import first_difference, flat
from kdfeatures.runs.manifest import (
    MADE,
    MANIFEST,
    REPLACED,
    SEALED,
    STAGES,
    begin,
    check_unlike,
    is_own,
    read_manifest,
)
from kdfeatures.runs.moved_options import current_config
from kdfeatures.runs.results import FILE, read_results
from kdfeatures.training.distributed import is_first

logger = logging.getLogger(__name__)

EXISTING = ("refuse", "resume", "overwrite")
# beginnings of options that say how a run is called, watched and published, not what comes of it
OF_CALL = (
    "existing", "output_dir", "push_to_hub", "hub_private", "trainer.disable_tqdm", "trainer.logging",
    "trainer.report_to", "trainer.run_name", "trainer.save_", "trainer.dataloader_",
    "trainer.threads",
)  # fmt: skip
READ = ("model.path", "teacher.path", "student.path", "before.path", "teacher.outputs", "data.pool")

_when_begun: ContextVar[Callable[[Path], None] | None] = ContextVar("when_begun", default=None)

Settings = TypeVar("Settings")
Returned = TypeVar("Returned")
More = ParamSpec("More")
Run = Callable[Concatenate[Settings, Path, More], Returned]


def alone_in_output(run: Run) -> Run:
    """Let `run(settings, output_dir)` write to its folder alone: another process that is at it is a UserError.

    Of several processes of one run the first speaks for all.
    """

    @wraps(run)
    def guarded(settings: Settings, output_dir: Path, *args: Any, **kwargs: Any) -> Any:
        if not is_first():
            return run(settings, output_dir, *args, **kwargs)
        with one_at_a_time(output_dir):
            return run(settings, output_dir, *args, **kwargs)

    return guarded


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
    link = next(_links(folder), None)
    if link is not None:
        raise UserError(
            f"output_dir={folder} holds the symbolic link {link.relative_to(folder)}, through which the run would read "
            "or write elsewhere; remove it, or choose another folder."
        )
    if existing == "refuse":
        refuse_run(folder)
    if existing == "overwrite":
        holds = _run_files(folder)
        if holds and not is_own(folder):
            raise UserError(
                f"output_dir={folder} holds {', '.join(holds)}, which no run of kdfeatures says it made, so it is not "
                "overwritten; choose another folder."
            )
    if existing == "resume" and not is_finished(folder):
        manifest = read_manifest(folder)
        if manifest is not None:
            _check_same(folder, "an unfinished run", manifest["config"], config)
        elif (folder / MANIFEST).exists():
            raise UserError(
                f"output_dir={folder}: {MANIFEST} cannot be read, so it is not known with which settings the run "
                "began; choose another folder, or existing=overwrite to replace it."
            )
    folder.mkdir(parents=True, exist_ok=True)
    return last_checkpoint(folder) if existing == "resume" else None


def _links(folder: Path) -> Iterator[Path]:
    """Yield symbolic links among what runs make in `folder`."""
    for path in sorted({path for pattern in (*MADE, REPLACED) for path in folder.glob(pattern)}):
        yield from (inner for inner in (path, *path.rglob("*")) if inner.is_symlink())


@contextmanager
def when_begun(function: Callable[[Path], None]) -> Iterator[None]:
    """Call `function` with the folder of every run that begins in the block, as soon as its manifest is there."""
    token = _when_begun.set(function)
    try:
        yield
    finally:
        _when_begun.reset(token)


def begin_run(folder: Path, existing: str, config: Mapping[str, Any]) -> None:
    """Set aside what a run made there that is to be overwritten, and leave the manifest of this one.

    After all checks, before anything is written. Of several processes the first does it, and none goes on before.
    """
    if is_first():
        begin(folder, config, replace=existing == "overwrite")
        function = _when_begun.get()
        if function is not None:
            function(folder)
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
    """Return the newest checkpoint whose files are what was written, or None; what is passed over is named.

    A run may be killed while it saves one, and files may be lost or damaged later.
    """
    checkpoints = [path for path in folder.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdecimal()]
    is_sealed = (read_manifest(folder) or {}).get(SEALED, False)
    for path in sorted(checkpoints, key=lambda path: int(path.name.removeprefix("checkpoint-")), reverse=True):
        flaw = _flaw(path, is_sealed=is_sealed)
        if flaw is None:
            return str(path)
        if is_first():
            logger.info(f"Passed over {path}: {flaw}.")
    return None


def _flaw(checkpoint: Path, *, is_sealed: bool) -> str | None:
    """is_sealed: whether the run writes checksums, as those of earlier versions did not."""
    if is_sealed or (checkpoint / checksums.FILE).exists():
        return checksums.flaw(checkpoint)
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "trainer_state.json cannot be read"
    return None


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

    config: what is asked for now, resolved. A run whose model or answers are lost or damaged is not finished; what is
    wrong is named. Raises UserError when the run was another one, whose results would be taken for these.
    """
    if existing != "resume" or not is_finished(folder):
        return None
    results = read_results(folder)
    if not isinstance(results.get("config"), Mapping):
        raise UserError(f"{folder / FILE} does not say with which settings the run was made; choose another folder.")
    _check_same(folder, "a finished run", results["config"], config)
    flaw = checksums.flaw(folder, results.get("files") or {})  # of earlier versions there are none
    if flaw is not None:
        if is_first():
            logger.info(f"{folder / FILE} says that the run is finished, but {flaw}; it is run again.")
        return None
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
    """True when the run in `folder` has written its results, and they can be read."""
    try:
        read_results(folder)
    except UserError as error:
        if (folder / FILE).exists() and is_first():
            logger.info(f"{error} The run counts as unfinished.")
        return False
    return True
