"""Write missing shards: the teacher's pass over their examples, batch by batch into mapped files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from tqdm.auto import tqdm
from transformers import DataCollatorWithPadding, PreTrainedModel, PreTrainedTokenizerBase

from kdfeatures.cache.arrays import DTYPES, NewArray
from kdfeatures.cache.plan import Task, bytes_of, check_room
from kdfeatures.cache.quantities import OPERANDS, Quantity, in_order
from kdfeatures.cache.shards import locked, new_shard, shard_name
from kdfeatures.cache.teacher_pass import TeacherPass
from kdfeatures.config.cache import CacheConfig
from kdfeatures.distillation.teacher_outputs import AttentionForm, widest
from kdfeatures.errors import UserError


class Filler:
    """Computes shards of the examples into `folder`, which lies in `root`; see FeatureCache.features."""

    def __init__(
        self,
        root: Path,
        folder: Path,
        settings: CacheConfig,
        tokenizer: PreTrainedTokenizerBase,
        examples: Dataset,
        digests: np.ndarray,
        lengths: np.ndarray,
    ) -> None:
        self.root, self.folder, self.settings = root, folder, settings
        self.pad = DataCollatorWithPadding(tokenizer)
        self.examples, self.digests, self.lengths = examples, digests, lengths

    def fill(self, teacher: PreTrainedModel, tasks: Sequence[Task], *, rank: int, world: int) -> None:
        """Check that there is room, then write the shards, first those of this rank, then what others have left.

        A shard that another process is writing is passed over, and waited for at the end.
        """
        own = list(tasks[rank::world])
        left = own + [task for n, task in enumerate(tasks) if n % world != rank]
        total = sum(len(task.rows) for task in tasks)
        quantities = in_order(quantity for task in tasks for quantity in task.quantities)
        # one pass object for all shards: hooks that come and go would have a compiled teacher compiled anew each time
        with (
            TeacherPass(teacher, quantities) as teacher_pass,
            tqdm(total=total, desc="teacher features", leave=False, disable=total < 1000) as progress,
        ):
            widths = self._widths(teacher_pass, tasks, silent=rank > 0)
            for wait in (False, True):
                busy = []
                for task in left:
                    if self._written(task, teacher_pass, widths, wait=wait):
                        progress.update(len(task.rows))
                    else:
                        busy.append(task)
                left = busy

    def _widths(self, teacher: TeacherPass, tasks: Sequence[Task], *, silent: bool) -> dict[Quantity, int]:
        """Let one example tell the numbers per token (per example for logits) of each quantity; check the room."""
        by_length = tasks[0].rows[np.argsort(self.lengths[tasks[0].rows], kind="stable")]
        shortest, longest = (self.examples[int(row)] for row in (by_length[0], by_length[-1]))
        found, _ = teacher.run(self.pad([shortest]))
        padded, _ = teacher.run(self.pad([shortest, longest]))
        if not silent and not all(_agree(states, padded[q][: len(states)]) for q, states in found.items()):
            # MobileBERT and ConvBERT mix padding into the last tokens; with padding on the left, positions may shift
            print(
                "Teacher cache: this teacher's features depend on how far a batch is padded; each example keeps those "
                "of one batch, so cached training differs a little from live training."
            )
        widths = {quantity: states.shape[1] for quantity, states in found.items()}
        row_bytes = {q: width * DTYPES[self._dtype(q)][1].itemsize for q, width in widths.items()}
        size = bytes_of(tasks, self.lengths, row_bytes)
        check_room(self.root, tasks, self.lengths, size, self.settings.max_gib, silent=silent)
        return widths

    def _dtype(self, quantity: Quantity) -> str:
        return "float32" if quantity.is_logits else self.settings.dtype

    def _written(self, task: Task, teacher: TeacherPass, widths: dict[Quantity, int], *, wait: bool) -> bool:
        """Write a shard unless it is there; False when another process is at it and `wait` is not asked for."""
        name = shard_name(self.digests[task.rows], (quantity.name for quantity in task.quantities))
        with locked(self.folder, name, wait=wait) as ours:
            if ours and not (self.folder / name).exists():
                self._write(name, task, teacher, widths)
            return ours

    def _write(self, name: str, task: Task, teacher: TeacherPass, widths: dict[Quantity, int]) -> None:
        own = self.lengths[task.rows]
        starts = np.cumsum(own) - own
        chosen = self.examples.select(task.rows)
        longest_first = np.argsort(own, kind="stable")[::-1]
        forms: dict[int, list[AttentionForm]] = {}
        with new_shard(self.folder, name, self.digests[task.rows], own) as unfinished:
            arrays = {}
            for quantity in task.quantities:
                shape = int(own.sum()) if quantity.per_token else len(own), widths[quantity]
                arrays[quantity] = NewArray(unfinished / quantity.name, shape, self._dtype(quantity))
            for i in range(0, len(own), self.settings.batch_size):
                rows = longest_first[i : i + self.settings.batch_size]
                found, seen = teacher.run(self.pad([chosen[int(row)] for row in rows]))
                for layer, form in seen.items():
                    forms.setdefault(layer, []).append(form)
                for quantity, array in arrays.items():
                    counts = own[rows].tolist() if quantity.per_token else [1] * len(rows)
                    firsts = starts[rows] if quantity.per_token else rows
                    parts = self._fitting(quantity, found[quantity]).split(counts)
                    for first, part in zip(firsts, parts, strict=True):
                        array.tensor[first : first + len(part)] = part
            for quantity, array in arrays.items():
                array.close(widest(forms[quantity.layer]).as_text() if quantity.of in OPERANDS else None)

    def _fitting(self, quantity: Quantity, states: Tensor) -> Tensor:
        dtype = self._dtype(quantity)
        kept = states.to("cpu", DTYPES[dtype][1])
        if not torch.isfinite(kept).all():
            what = f"the teacher's {quantity.name}"
            if not torch.isfinite(states).all():
                raise UserError(f"{what} is not finite; look at its weights and teacher.dtype.")
            raise UserError(
                f"{what} reaches {states.abs().max().item():g}, which {dtype} cannot hold; use cache.dtype=bfloat16."
            )
        return kept


def _agree(alone: Tensor, padded: Tensor) -> bool:
    tolerance = torch.finfo(alone.dtype).eps ** 0.5 * alone.abs().max()
    return bool((alone - padded).abs().max() <= tolerance)
