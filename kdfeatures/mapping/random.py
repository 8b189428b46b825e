"""Sorted random subsets of the teacher's layers."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from kdfeatures.errors import ConfigError
from kdfeatures.mapping.dynamic import DynamicLayerMap
from kdfeatures.mapping.pairs import LayerPair


class RandomMap(DynamicLayerMap):
    """Layer m learns from the m-th of M teacher layers, drawn at random and sorted, as in RAIL-KD (arXiv:2109.10164).

    Every subset is equally likely, the last layers take part. The draw is a function of seed and epoch (or step), so
    all terms and processes have the same, and a resumed run goes on with it. every: optimiser steps between draws; None
    draws once an epoch, as the paper does. Unlike the control with one random map for a whole run (mapping=explicit),
    the student meets all teacher layers. Raises UserError for a student deeper than its teacher.
    """

    rule = "random"
    supports: ClassVar = ("hidden", "attention", "flow")
    summary = "a random subset of teacher layers at a time"

    def __init__(
        self,
        student_layers: int,
        teacher_layers: int,
        *,
        seed: int = 0,
        every: int | None = None,
        embeddings: bool = True,
    ) -> None:
        if student_layers > teacher_layers:
            raise ConfigError(
                f"the map random draws a teacher layer for each of the student's {student_layers}, but the teacher has "
                f"{teacher_layers}",
                hint="use uniform or attention",
                key="map.random_depth",
                student_layers=student_layers,
                teacher_layers=teacher_layers,
            )
        if every is not None and every < 1:
            raise ConfigError(
                "must be at least 1 step, or None for an epoch", argument="every", value=every, key="map.random_every"
            )
        super().__init__(student_layers, teacher_layers, embeddings=embeddings)
        self.seed, self.every = seed, every
        self.advance(0, 0)

    def check_training(self, *, sharded: bool, streaming: bool) -> None:
        super().check_training(sharded=sharded, streaming=streaming)
        if streaming and self.every is None:
            raise ConfigError(
                "the map random draws once an epoch, which a stream has not",
                hint="say after how many steps it shall draw anew, such as every=1000",
                key="map.random_streaming",
            )

    def advance(self, step: int, epoch: int) -> None:
        students, teachers = self.shape
        draw = epoch if self.every is None else step // self.every
        # a seed of two numbers makes a stream of its own for every draw
        drawn = np.random.default_rng([self.seed, draw]).permutation(teachers)[:students]
        self.drawn = tuple(sorted(drawn.tolist()))  # from 0

    def active_pairs(self) -> tuple[LayerPair, ...]:
        return tuple(p for p in self.pairs if p.student == 0 or p.teacher == self.drawn[p.student - 1] + 1)

    def weights(self) -> Tensor:
        chosen = torch.zeros(self.shape)
        chosen[torch.arange(self.shape[0]), list(self.drawn)] = 1
        return chosen
