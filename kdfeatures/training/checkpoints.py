"""What a checkpoint holds beside the student and the projections: the state of maps and of heads."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
from torch import Tensor, nn

from kdfeatures.errors import UserError

MAPS = "maps.safetensors"  # of the maps that move or were measured
HEADS = "heads.safetensors"  # of matched or mixed heads
OTHERS = {MAPS: "another mapping", HEADS: "other heads="}


def saved_part(checkpoint: Path, file: str, part: nn.Module) -> dict[str, Tensor]:
    """Return what `file` of a checkpoint holds of `part`; raises UserError where it is of another one."""
    path = checkpoint / file
    found = safetensors.torch.load_file(path) if path.exists() else {}
    theirs, own = ({name: x.shape for name, x in state.items()} for state in (found, part.state_dict()))
    if theirs != own:
        raise UserError(
            f"{checkpoint} was written with {OTHERS[file]}; resume with the same, or start anew with "
            "existing=overwrite."
        )
    return found
