"""Ctrl-C and SIGTERM while a model is trained: the step is finished, a checkpoint saved, and the run can be resumed."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import Trainer, TrainerCallback

from kdfeatures.errors import Stopped, stop_at_once

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM)
HANDLERS = (signal.SIG_DFL, signal.default_int_handler, stop_at_once)  # those of somebody else's program are left alone


@contextmanager
def stopping_between_steps(trainer: Trainer) -> Iterator[None]:
    """Let the first SIGINT or SIGTERM in the block end the training after its step, with a checkpoint; raises Stopped.

    A second one ends it at once. With save_strategy="no" there is no checkpoint. Of several processes all stop after
    the same step when one of them gets the signal. Outside the main thread, where Python takes no signals, nothing is
    done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stop = _StopAfterStep(trainer)
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler in HANDLERS:
            signal.signal(number, stop.note)
    trainer.add_callback(stop)
    try:
        yield
    finally:
        trainer.remove_callback(stop)
        for number, handler in before.items():
            signal.signal(number, handler)
    if stop.signal is not None:
        raise Stopped(stop.signal, saved=trainer.args.save_strategy != "no")


class _StopAfterStep(TrainerCallback):
    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.signal: int | None = None

    def note(self, number: int, frame: Any) -> None:
        if self.signal is not None:
            stop_at_once(number, frame)
        self.signal = number
        logger.info("Stopping after this step; once more to stop at once.")

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if args.world_size > 1:
            device = self.trainer.accelerator.device
            signals = self.trainer.accelerator.gather(torch.tensor([self.signal or 0], device=device))
            self.signal = int(signals.max()) or None
        if self.signal is not None:
            control.should_training_stop = True
            control.should_evaluate = False
            control.should_save = args.save_strategy != "no"
