"""Write missing shards: the teacher's pass over their examples, batch by batch into mapped files."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from tqdm.auto import tqdm
from transformers import DataCollatorWithPadding, PreTrainedModel, PreTrainedTokenizerBase

from kdfeatures.cache.arrays import DTYPES, NewArray
from kdfeatures.cache.plan import ShardPlan, bytes_of, check_room
from kdfeatures.cache.quantities import Quantity, in_order
from kdfeatures.cache.remote import RemoteShards
from kdfeatures.cache.settings import CacheSettings
from kdfeatures.cache.shards import locked, new_shard, shard_name
from kdfeatures.cache.teacher_pass import TeacherPass
from kdfeatures.distillation.attention_form import AttentionForm, widest
from kdfeatures.errors import UserError
from kdfeatures.features import OPERANDS

logger = logging.getLogger(__name__)


class Filler:
    """Computes shards of the examples into `folder`, which lies in `root`; see FeatureCache.features.

    remote: where they also go, and may come from.
    """

    def __init__(
        self,
        root: Path,
        folder: Path,
        remote: RemoteShards | None,
        settings: CacheSettings,
        tokenizer: PreTrainedTokenizerBase,
        examples: Dataset,
        digests: np.ndarray,
        lengths: np.ndarray,
    ) -> None:
        self.root, self.folder, self.remote, self.settings = root, folder, remote, settings
        self.pad = DataCollatorWithPadding(tokenizer)
        self.examples, self.digests, self.lengths = examples, digests, lengths

    def fill(self, teacher: PreTrainedModel, plans: Sequence[ShardPlan], *, rank: int, world: int) -> None:
        """Check that there is room, then write the shards, first those of this rank, then what others have left.

        A shard that another process is writing is passed over, and waited for at the end.
        """
        rank_plans = list(plans[rank::world])
        remaining = rank_plans + [plan for n, plan in enumerate(plans) if n % world != rank]
        total = sum(len(plan.rows) for plan in plans)
        quantities = in_order(quantity for plan in plans for quantity in plan.quantities)
        # one pass object for all shards: hooks that come and go would have a compiled teacher compiled anew each time
        with (
            TeacherPass(teacher, quantities) as teacher_pass,
            tqdm(total=total, desc="teacher features", leave=False, disable=total < 1000) as progress,
        ):
            widths = self._widths(teacher_pass, plans, silent=rank > 0)
            for wait in (False, True):
                busy = []
                for plan in remaining:
                    if self._try_write(plan, teacher_pass, widths, wait=wait):
                        progress.update(len(plan.rows))
                    else:
                        busy.append(plan)
                remaining = busy

    def _widths(self, teacher: TeacherPass, plans: Sequence[ShardPlan], *, silent: bool) -> dict[Quantity, int]:
        """Let one example tell the numbers per token (per example for logits) of each quantity; check the room."""
        by_length = plans[0].rows[np.argsort(self.lengths[plans[0].rows], kind="stable")]
        shortest, longest = (self.examples[int(row)] for row in (by_length[0], by_length[-1]))
        unpadded, _ = teacher.run(self.pad([shortest]))
        padded, _ = teacher.run(self.pad([shortest, longest]))
        if not silent and not all(_agree(states, padded[q][: len(states)]) for q, states in unpadded.items()):
            # MobileBERT and ConvBERT mix padding into the last tokens; with padding on the left, positions may shift
            logger.warning(
                "Teacher cache: this teacher's features depend on how far a batch is padded; each example keeps those "
                "of one batch, so cached training differs a little from live training."
            )
        widths = {quantity: states.shape[1] for quantity, states in unpadded.items()}
        row_bytes = {q: width * DTYPES[self._dtype(q)][1].itemsize for q, width in widths.items()}
        size = bytes_of(plans, self.lengths, row_bytes)
        used = None if self.remote is None else self.remote.size()
        check_room(self.root, plans, self.lengths, size, self.settings, used=used, silent=silent)
        return widths

    def _dtype(self, quantity: Quantity) -> str:
        return "float32" if quantity.is_logits else self.settings.dtype

    def _try_write(self, plan: ShardPlan, teacher: TeacherPass, widths: dict[Quantity, int], *, wait: bool) -> bool:
        """Write a shard unless it is there; False when another process is at it and `wait` is not asked for."""
        name = shard_name(self.digests[plan.rows], (quantity.name for quantity in plan.quantities))
        with locked(self.folder, name, wait=wait) as ours:
            if ours and not (self.folder / name).exists():
                if self.remote is not None and self.remote.take(name):
                    return True
                self._write(name, plan, teacher, widths)
                if self.remote is not None:
                    self.remote.put(name)
            return ours

    def _write(self, name: str, plan: ShardPlan, teacher: TeacherPass, widths: dict[Quantity, int]) -> None:
        lengths = self.lengths[plan.rows]
        starts = np.cumsum(lengths) - lengths
        chosen = self.examples.select(plan.rows)
        longest_first = np.argsort(lengths, kind="stable")[::-1]
        forms: dict[int, list[AttentionForm]] = {}
        with new_shard(self.folder, name, self.digests[plan.rows], lengths) as unfinished:
            arrays = {}
            for quantity in plan.quantities:
                shape = int(lengths.sum()) if quantity.per_token else len(lengths), widths[quantity]
                arrays[quantity] = NewArray(unfinished / quantity.name, shape, self._dtype(quantity))
            for i in range(0, len(lengths), self.settings.batch_size):
                rows = longest_first[i : i + self.settings.batch_size]
                features, batch_forms = teacher.run(self.pad([chosen[int(row)] for row in rows]))
                for layer, form in batch_forms.items():
                    forms.setdefault(layer, []).append(form)
                for quantity, array in arrays.items():
                    counts = lengths[rows].tolist() if quantity.per_token else [1] * len(rows)
                    firsts = starts[rows] if quantity.per_token else rows
                    parts = self._cast(quantity, features[quantity]).split(counts)
                    for first, part in zip(firsts, parts, strict=True):
                        array.tensor[first : first + len(part)] = part
            for quantity, array in arrays.items():
                array.close(widest(forms[quantity.layer_number]).as_text() if quantity.of in OPERANDS else None)

    def _cast(self, quantity: Quantity, states: Tensor) -> Tensor:
        dtype = self._dtype(quantity)
        converted = states.to("cpu", DTYPES[dtype][1])
        if not torch.isfinite(converted).all():
            name = f"the teacher's {quantity.name}"
            if not torch.isfinite(states).all():
                raise UserError(f"{name} is not finite; look at its weights and teacher.dtype.")
            raise UserError(
                f"{name} reaches {states.abs().max().item():g}, which {dtype} cannot hold; use cache.dtype=bfloat16."
            )
        return converted


def _agree(alone: Tensor, padded: Tensor) -> bool:
    tolerance = torch.finfo(alone.dtype).eps ** 0.5 * alone.abs().max()
    return bool((alone - padded).abs().max() <= tolerance)
