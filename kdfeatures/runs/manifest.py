"""run.json, what a run says of itself when it begins; and the run before it, kept until its successor is whole.

A folder holds one run. A run that replaces another first moves what that one made into `.replaced`, by renaming, so
that no moment has a mix of both; it goes when the new results are written. Only what this program makes is moved, and
only in a folder that a run of it says is its own.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kdfeatures.errors import UserError
from kdfeatures.files import write_whole

logger = logging.getLogger(__name__)

MANIFEST = "run.json"
SEALED = "sealed"  # of run.json: the run's checkpoints end with checksums
REPLACED = ".replaced"
RESULTS = "results.json"
STAGES = "stages"  # the folder with those of a run in several stages
DATA = "data"  # that of examples which a run was given in memory
# all that commands write to the top of their folder, Hydra's own aside
MADE = (
    RESULTS, MANIFEST, STAGES, "checkpoint-*", "README.md", "logits.npz", "table.md", "plot.png", "index.html",
    "heads_*.png", "layers*.png", "predictions_*.csv", "model*.onnx", "model*.onnx.data", "model*.safetensors",
    "model.safetensors.index.json", "projections.safetensors", "maps.safetensors", "heads.safetensors", "config.json",
    "tokenizer*.json", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.model",
    "training_args.bin", "trainer_state.json",
)  # fmt: skip


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return what the run in `folder` said when it began; None where there is none, or it cannot be read."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    is_whole = isinstance(manifest, dict) and isinstance(manifest.get("config"), dict) and "before" in manifest
    return manifest if is_whole else None


def is_own(folder: Path) -> bool:
    """True when a run of this program says that it is in `folder`, or has finished there."""
    return any((folder / name).exists() for name in (MANIFEST, RESULTS, REPLACED))


def made_in(folder: Path) -> Iterator[Path]:
    """Yield what the run in `folder` made there: MADE, without what was there before it."""
    manifest = read_manifest(folder)
    before = () if manifest is None else manifest["before"]
    found = {path for pattern in MADE for path in folder.glob(pattern) if path.name not in before}
    yield from sorted(found)


def begin(folder: Path, config: Mapping[str, Any], *, replace: bool) -> None:
    """Say in `folder` that a run with this resolved config has begun there, once all is checked.

    replace: what a run made there before is set aside; otherwise the run goes on with it. A run that was already set
    aside stays so, and what its unfinished successor made is removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    earlier = read_manifest(folder)
    if earlier is None:
        of_run = {path.name for path in made_in(folder)} if is_own(folder) else set()
        before = sorted(path.name for path in folder.iterdir() if path.name not in of_run | {REPLACED})
    else:
        before = earlier["before"]
    if replace:
        _set_aside(folder)
    if read_manifest(folder) is None:
        manifest = {"config": config, "before": before, SEALED: True}
        write_whole(folder / MANIFEST, json.dumps(manifest, indent=2, default=str))


def end(folder: Path, config: Mapping[str, Any] | None) -> None:
    """Remove the run that was set aside, now that its successor has written its results, and data of other runs."""
    shutil.rmtree(folder / REPLACED, ignore_errors=True)
    if config is None or not (folder / DATA).is_dir():
        return
    given = ((config.get("task") or {}).get("files") or {}).values()
    files = {Path(file).name for file in given if isinstance(file, str)}
    for path in (folder / DATA).glob("*-*.parquet"):
        if path.name not in files:
            path.unlink(missing_ok=True)


def _set_aside(folder: Path) -> None:
    finished, replaced = (folder / RESULTS).exists(), folder / REPLACED
    old = list(made_in(folder)) if is_own(folder) else []
    if not old:
        return
    if replaced.exists() and not finished:  # this run was itself to replace the one that is set aside
        for path in old:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return
    shutil.rmtree(replaced, ignore_errors=True)
    replaced.mkdir()
    # the results first: without them nobody takes what is left for a finished run
    for path in sorted(old, key=lambda path: path.name != RESULTS):
        path.rename(replaced / path.name)
    logger.info(f"What the run before made is kept in {replaced} until this one is finished.")


def check_unlike(folder: Path, reads: Mapping[str, Path], *, replace: bool) -> None:
    """Raise UserError when a run in `folder` would write over what it reads.

    reads: {option: file or folder}. replace: whether what is there is to be set aside.
    """
    whole = folder.resolve()
    for option, path in reads.items():
        if path.resolve() == whole:
            raise UserError(
                f"{option}={path} is the folder output_dir={folder} that the run would write to; choose another "
                "output_dir."
            )
        if not replace or whole not in path.resolve().parents:
            continue
        top = path.resolve().relative_to(whole).parts[0]
        if is_own(folder) and top in {made.name for made in made_in(folder)} or top == REPLACED:
            raise UserError(
                f"{option}={path} is part of what existing=overwrite would replace in output_dir={folder}; choose "
                "another output_dir."
            )
