"""What a checkpoint holds beside the student and the projections: the state of maps and of heads."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
from torch import Tensor, nn

from kdfeatures.errors import ConfigError

MAPS = "maps.safetensors"  # of the maps that move or were measured
HEADS = "heads.safetensors"  # of matched or mixed heads
LOSSES = "losses.safetensors"  # of losses that learn
VECTORS = "vectors.safetensors"  # the projections of vectors of texts
WHAT = {MAPS: "another layer map", HEADS: "other heads", LOSSES: "another loss", VECTORS: "vectors of other widths"}


def saved_part(checkpoint: Path, file: str, part: nn.Module) -> dict[str, Tensor]:
    """Return what `file` of a checkpoint holds of `part`; raises ConfigError where it is of another one."""
    path = checkpoint / file
    saved = safetensors.torch.load_file(path) if path.exists() else {}
    saved_shapes, part_shapes = ({name: x.shape for name, x in state.items()} for state in (saved, part.state_dict()))
    if saved_shapes != part_shapes:
        raise ConfigError(
            f"{checkpoint} was written with {WHAT[file]}",
            hint="resume with the same, or start anew",
            key=f"checkpoint.{file.partition('.')[0]}",
            checkpoint=checkpoint,
        )
    return saved
