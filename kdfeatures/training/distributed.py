"""One run in several processes, as torchrun and accelerate launch start them, and what cannot run so."""

from __future__ import annotations

import os
from collections.abc import Sequence

from kdfeatures.errors import UserError

SHARED = ("finetune", "distill", "cache")  # commands whose work several processes share


def process_count() -> int:
    """Return how many processes share this run."""
    return int(os.environ.get("WORLD_SIZE", 1))


def is_first() -> bool:
    """True in the one process that evaluates, prints and writes results."""
    return int(os.environ.get("RANK", 0)) == 0


def is_first_here() -> bool:
    """True in one process of each machine: the one that reports what is wrong there."""
    return int(os.environ.get("LOCAL_RANK", 0)) == 0


def leave_processes() -> None:
    """End this process's part of a shared run that went well. Nothing waits for the others.

    Threads of the group that still run when Python ends may abort the process after its work is done.
    """
    if process_count() == 1:
        return
    from torch import distributed  # its import takes seconds, which a refused call need not wait for

    if distributed.is_initialized():
        distributed.destroy_process_group()


def check_processes(command: str, overrides: Sequence[str], output_dir: str) -> None:
    """Raise UserError for what several processes cannot do together. output_dir: not yet resolved."""
    if process_count() == 1:
        return
    if command not in SHARED:
        raise UserError(
            f"kdfeatures {command} runs in one process, but {process_count()} were started; leave out torchrun or "
            f"accelerate launch (they are for {', '.join(SHARED)})."
        )
    if "${now:" in output_dir:
        raise UserError(
            f"{process_count()} processes need one folder, but each would name its own after the time; give "
            "output_dir=FOLDER."
        )
    launchers = [text for text in overrides if text.startswith("hydra/launcher=")]
    if launchers:
        raise UserError(
            f"{launchers[0]} starts jobs of its own, which {process_count()} processes would each do; leave out the "
            "launcher, or torchrun."
        )
