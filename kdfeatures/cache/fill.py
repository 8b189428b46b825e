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
from kdfeatures.cache.attention_form import AttentionForm, widest
from kdfeatures.cache.plan import Task, bytes_of, check_room
from kdfeatures.cache.quantities import LOGITS, OPERANDS, Quantity, in_order
from kdfeatures.cache.settings import CacheConfig
from kdfeatures.cache.shards import locked, new_shard, shard_name
from kdfeatures.cache.teacher_pass import TeacherPass
from kdfeatures.errors import UserError


class Filler:
    """Computes shards into `folder`, which lies in `root`; see FeatureCache.features."""

    def __init__(
        self,
        root: Path,
        folder: Path,
        settings: CacheConfig,
        teacher: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
    ) -> None:
        self.root, self.folder, self.settings, self.teacher = root, folder, settings, teacher
        self.pad = DataCollatorWithPadding(tokenizer)

    def fill(
        self,
        examples: Dataset,
        digests: np.ndarray,
        lengths: np.ndarray,
        tasks: Sequence[Task],
        *,
        rank: int,
        world: int,
    ) -> None:
        """Check that there is room, then write the shards, first those of this rank, then what others have left.

        A shard that another process is writing is passed over, and waited for at the end.
        """
        quantities = in_order(quantity for task in tasks for quantity in task.quantities)
        # one for all shards: hooks that come and go would have a compiled teacher compiled anew each time
        with TeacherPass(self.teacher, quantities) as teacher:
            self._fill(teacher, examples, digests, lengths, tasks, rank=rank, world=world)

    def _fill(
        self,
        teacher: TeacherPass,
        examples: Dataset,
        digests: np.ndarray,
        lengths: np.ndarray,
        tasks: Sequence[Task],
        *,
        rank: int,
        world: int,
    ) -> None:
        found, _ = teacher.run(self.pad([examples[int(tasks[0].rows[0])]]))  # tells the widths
        widths = {quantity: states.shape[1] for quantity, states in found.items()}
        row_bytes = {q: width * DTYPES[self._dtype(q)][1].itemsize for q, width in widths.items()}
        size = bytes_of(tasks, lengths, row_bytes)
        check_room(self.root, tasks, lengths, size, self.settings.max_gib, silent=rank > 0)
        own = list(tasks[rank::world])
        open_tasks = own + [task for task in tasks if all(task is not mine for mine in own)]
        total = sum(len(task.rows) for task in tasks)
        with tqdm(total=total, desc="teacher features", leave=False, disable=total < 1000) as progress:
            for wait in (False, True):
                left = []
                for task in open_tasks:
                    name = shard_name(digests[task.rows], task.quantities)
                    with locked(self.folder, name, wait=wait) as ours:
                        if not ours:
                            left.append(task)
                            continue
                        if not (self.folder / name).exists():
                            self._write(name, teacher, examples, digests, lengths, task, widths)
                    progress.update(len(task.rows))
                open_tasks = left

    def _dtype(self, quantity: Quantity) -> str:
        return "float32" if quantity == LOGITS else self.settings.dtype

    def _write(
        self,
        name: str,
        teacher: TeacherPass,
        examples: Dataset,
        digests: np.ndarray,
        lengths: np.ndarray,
        task: Task,
        widths: dict[Quantity, int],
    ) -> None:
        own = lengths[task.rows]
        starts = np.cumsum(own) - own
        chosen = examples.select(task.rows)
        longest_first = np.argsort(own, kind="stable")[::-1]
        forms: dict[int, list[AttentionForm]] = {}
        with new_shard(self.folder, name, digests[task.rows], own) as unfinished:
            arrays = {}
            for quantity in task.quantities:
                entries = len(own) if quantity == LOGITS else int(own.sum())
                arrays[quantity] = NewArray(
                    unfinished / quantity.name, (entries, widths[quantity]), self._dtype(quantity)
                )
            for i in range(0, len(own), self.settings.batch_size):
                rows = longest_first[i : i + self.settings.batch_size]
                found, seen = teacher.run(self.pad([chosen[int(row)] for row in rows]))
                for layer, form in seen.items():
                    forms.setdefault(layer, []).append(form)
                for quantity, array in arrays.items():
                    counts = [1] * len(rows) if quantity == LOGITS else own[rows].tolist()
                    firsts = rows if quantity == LOGITS else starts[rows]
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
