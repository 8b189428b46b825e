"""The Trainer that fine-tuning and distillation share: batches of like length, their padding counted, FSDP anywhere."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.data_loader import prepare_data_loader
from datasets import Dataset, IterableDataset
from torch.utils.data import DataLoader, Sampler
from transformers import Trainer, TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import TrainerState
from transformers.trainer_utils import TrainOutput, rotate_checkpoints

from kdfeatures.checksums import seal
from kdfeatures.distillation.outputs import attention_mask_of
from kdfeatures.evaluation.encoded import token_counts
from kdfeatures.evaluation.validation import ValidationScores
from kdfeatures.runtime.quiet import errors_alone
from kdfeatures.training.finite import check_batch, check_gradient, check_parameters
from kdfeatures.training.fsdp import use_fsdp_on_cpu
from kdfeatures.training.samplers import EndlessShare, LengthBucketSampler, TokenBudgetBatches

PROGRESS = "progress.json"  # of a checkpoint: what was measured since the last log


class LengthBatchedTrainer(Trainer):
    """A Trainer with batches of like length whose order can be resumed exactly, in any number of processes.

    train_sampling_strategy="group_by_length" takes LengthBucketSampler. tokens_per_batch takes TokenBudgetBatches
    instead, for each process, and per_device_train_batch_size is not used. The loss is a mean over a batch's examples,
    so a batch's loss is then multiplied by its size over the mean size: each example weighs the same over an epoch, as
    it does in batches of one size. A step on many short examples then has a larger gradient than one on few long ones,
    which max_grad_norm cuts more often and Adam's running averages see.

    A loss, a gradient or a weight that is not finite ends the run with Diverged before it can do harm: what was saved
    is whole. The log has `padding`, the share of padded positions in the training batches since the last log, over all
    processes, and `positions`, the number of positions B x L it is a share of.

    A checkpoint is whole when its checksums are there, which are written last (kdfeatures.checksums), and only then are
    older ones removed. It also keeps what was measured since the last log, and `seconds`, those of training, so that a
    resumed run reports all of its training.
    """

    threads: int | None = None  # of torch, while it trains; None as it has them
    loss_is_scaled_for_ga = False  # the loss is a mean over this batch; the Trainer must divide when it accumulates

    def __init__(self, *args, tokens_per_batch: int | None = None, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        # a head takes any keyword, and so seems to divide by the labels of a whole step, as encoders' heads do not
        self.model_accepts_loss_kwargs = False
        self.args.average_tokens_across_devices = False  # which would multiply by the number of processes
        self.tokens_per_batch = tokens_per_batch
        self.args.logging_nan_inf_filter = False  # it would wait for the device to hide what ends the run here
        self._sampler: LengthBucketSampler | TokenBudgetBatches | None = None
        if tokens_per_batch is not None:
            self._sampler = TokenBudgetBatches(
                token_counts(self.train_dataset), tokens_per_batch, self.args.seed, multiple_of=self._batches_of_a_step
            )
        self._counts = torch.zeros(2, dtype=torch.long, device=self.args.device)  # real tokens, positions
        self._evaluated_at: int | None = None  # the step
        self.started, self._seconds_before = time.monotonic(), 0.0
        self._losses_before: dict[str, Any] | None = None  # of the run that is gone on with
        self.add_callback(_Epochs(self))
        self.add_callback(_LossesBefore(self))

    @property
    def seconds(self) -> float:
        """Seconds of training since `started`, and before the checkpoint that it was resumed from."""
        return self._seconds_before + time.monotonic() - self.started

    @property
    def _batches_of_a_step(self) -> int:
        return self.args.gradient_accumulation_steps * self.args.world_size

    def create_accelerator_and_postprocess(self) -> None:
        super().create_accelerator_and_postprocess()
        if self.args.fsdp and not self.is_fsdp_enabled:
            use_fsdp_on_cpu(self.accelerator, self.args)
            self.is_fsdp_enabled = True

    def get_train_dataloader(self) -> DataLoader:
        if isinstance(self.train_dataset, IterableDataset) and self.args.world_size > 1:
            return self._loader_of_share(self.train_dataset)
        if not isinstance(self._sampler, TokenBudgetBatches):
            return super().get_train_dataloader()
        assert self.train_dataset is not None  # whose lengths made the sampler
        return self.accelerator.prepare(self._loader(self.train_dataset, batch_sampler=self._sampler))

    def _loader_of_share(self, stream: IterableDataset) -> DataLoader:
        share = EndlessShare(stream, self.args.process_index, self.args.world_size)
        without_unread = self._get_collator_with_removed_columns(self.data_collator, description="training")
        loader = self._loader(share, batch_size=self.args.train_batch_size, collate_fn=without_unread)
        # as in one process: what is a share already is not to be shared out again
        device, alone = self.args.device, {"num_processes": 1, "process_index": 0}
        return prepare_data_loader(loader, device, **alone, put_on_device=True, dispatch_batches=False)

    def _loader(self, examples: Any, **options: Any) -> DataLoader:
        return DataLoader(
            examples,
            **{"collate_fn": self.data_collator} | options,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
            persistent_workers=self.args.dataloader_persistent_workers,
            prefetch_factor=self.args.dataloader_prefetch_factor,
        )

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler | None:
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        dataset = self.train_dataset if train_dataset is None else train_dataset
        step = self.args.train_batch_size * self._batches_of_a_step
        self._sampler = LengthBucketSampler(token_counts(dataset), step, self.args.seed)
        return self._sampler

    def _get_eval_sampler(self, eval_dataset: Dataset) -> Sampler | None:
        if isinstance(self.compute_metrics, ValidationScores):
            return self.compute_metrics.rows
        return super()._get_eval_sampler(eval_dataset)

    def evaluate(self, *args, **kwargs) -> dict[str, float]:
        metrics = super().evaluate(*args, **kwargs)
        self._evaluated_at = self.state.global_step
        return metrics

    def answers_on(self, split: Dataset) -> np.ndarray | None:
        """Return the answers of the last evaluation, where those of the model as it is now would be no others.

        None without such an evaluation on this split, and where the Trainer runs the model in another way than it is
        run alone: on several devices, in lower precision, compiled.
        """
        args, scores = self.args, self.compute_metrics
        spread = args.world_size > 1 or args.n_gpu > 1 or self.is_fsdp_enabled
        differs = spread or args.bf16 or args.fp16 or args.bf16_full_eval or args.fp16_full_eval or args.torch_compile
        if differs or not isinstance(scores, ValidationScores) or scores.split is not split:
            return None
        step = self.state.best_global_step if args.load_best_model_at_end else self.state.global_step
        return scores.answers if step == self._evaluated_at else None

    def set_epoch(self, epoch: int) -> None:
        """Tell the sampler. The Trainer itself does not reach one below both a skip and a shard of batches."""
        if self._sampler is not None:
            self._sampler.set_epoch(epoch)

    def batch_weight(self, inputs: dict[str, Any]) -> float:
        """Return what a training batch's mean over examples is multiplied by: 1 unless batches differ in size."""
        if not isinstance(self._sampler, TokenBudgetBatches):
            return 1.0
        return len(next(iter(inputs.values()))) / self._sampler.mean_size

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        result = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if not model.training:
            return result
        self.check_loss(result, inputs)
        mask = attention_mask_of(inputs)
        if mask is not None:
            self._counts[0] += mask.sum()
            self._counts[1] += mask.numel()
        return result * self.batch_weight(inputs)

    def check_loss(self, loss: torch.Tensor, inputs: dict[str, Any]) -> None:
        """Raise Diverged unless a training batch's loss is finite; see kdfeatures.training.finite."""
        check_batch(loss.detach(), self.state.global_step + 1, {}, inputs, self)

    def _get_grad_norm(self, model, grad_norm=None):
        norm = super()._get_grad_norm(model, grad_norm)
        if getattr(self.accelerator, "scaler", None) is None:  # which skips a step whose gradient has no room in fp16
            check_gradient(norm, self.state.global_step + 1)
        return norm

    def _save_checkpoint(self, model, trial) -> None:
        check_parameters(model, f"after step {self.state.global_step}")
        output_dir = Path(self._get_output_dir(trial=trial))
        folder = output_dir / f"checkpoint-{self.state.global_step}"
        if self.args.should_save and folder.exists():  # what a killed run began to write, or one that was passed over
            shutil.rmtree(folder)
        self.accelerator.wait_for_everyone()
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self.args.save_total_limit = limit
        measured = json.dumps(self.measured() | {"seconds": self.seconds})
        self.accelerator.wait_for_everyone()  # for what others write there
        if self.args.should_save:
            (folder / PROGRESS).write_text(measured, encoding="utf-8")
            seal(folder)
            self._remove_older_checkpoints(limit)

    def _remove_older_checkpoints(self, limit: int | None) -> None:
        # by the time, since a damaged one that was passed over may have a higher number; of checkpoints within a second
        # transformers takes the number after all, and says so
        with errors_alone("transformers.trainer_utils"):
            rotate_checkpoints(
                output_dir=self._get_output_dir(trial=None),
                save_total_limit=limit,
                best_model_checkpoint=self.state.best_model_checkpoint,
                use_mtime=True,
            )

    def measured(self) -> dict[str, Any]:
        """Return what was measured since the last log over all processes, as JSON can hold it; see `take_measured`."""
        return {
            "counts": self.accelerator.reduce(self._counts, "sum").tolist(),
            "losses": {
                "logged": self._total_loss_scalar,  # the sum over all steps up to the last log
                "since": self.accelerator.reduce(self._tr_loss, "mean").item(),
                "logged_step": self._globalstep_last_logged,
            },
        }

    def take_measured(self, measured: dict[str, Any]) -> None:
        """Go on from what `measured` gave."""
        self._losses_before = measured.get("losses")  # which those of earlier versions have not
        if self.args.process_index == 0:
            self._counts += torch.tensor(measured["counts"], device=self._counts.device)

    def take_end(self, checkpoint: str) -> bool:
        """Be as after training if the checkpoint is of its last step; False when there are steps left.

        `train` would take one more step from there. Sharded weights need it to be loaded, so there it is left to that.
        """
        state = TrainerState.load_from_json(str(Path(checkpoint) / TRAINER_STATE_NAME))
        if self.args.max_steps > 0:
            is_end = state.global_step >= self.args.max_steps
        else:  # of as many epochs as now
            is_end = state.global_step >= state.max_steps and state.num_train_epochs >= self.args.num_train_epochs
        if self.is_fsdp_enabled or not is_end:
            return False
        self._load_from_checkpoint(checkpoint)
        self.state = state
        self._take_progress(checkpoint)
        if self._losses_before is not None:
            self._total_loss_scalar = self._losses_before["logged"] + self._losses_before["since"]
        # with what was measured since the last log
        self.log({"train_loss": float("nan"), "total_flos": state.total_flos})
        if self._losses_before is None:
            del self.state.log_history[-1]["train_loss"]
        if self.args.load_best_model_at_end and state.best_model_checkpoint is not None:
            self._load_best_model()
        self.control = self.callback_handler.on_train_end(self.args, self.state, self.control)
        if self.args.should_save:  # or a kill right before their removal leaves them for good
            self._remove_older_checkpoints(self.args.save_total_limit)
        return True

    def _take_progress(self, checkpoint: str) -> None:
        file = Path(checkpoint) / PROGRESS
        if file.is_file():  # which those of earlier versions have not
            progress = json.loads(file.read_text(encoding="utf-8"))
            self._seconds_before = progress["seconds"]
            self.take_measured(progress)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            self._take_progress(checkpoint)

    def train(self, *args, **kwargs) -> TrainOutput:
        output = super().train(*args, **kwargs)
        return output._replace(training_loss=output.metrics.get("train_loss", output.training_loss))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs or "train_loss" in logs:  # a window, or the end of training
            real, positions = self.accelerator.reduce(self._counts, "sum").tolist()
            if positions:
                logs |= {"padding": round(1 - real / positions, 6), "positions": positions}
            self._counts = torch.zeros_like(self._counts)
        if "train_loss" in logs and self._losses_before is not None:
            logs["train_loss"] = self._total_loss_scalar / self.state.global_step  # not of this call alone
        if logs.get("eval_loss") != logs.get("eval_loss"):  # there is none without labels
            del logs["eval_loss"]
        super().log(logs, start_time)


def padding_share(trainer: Trainer) -> float | None:
    """Return the share of padded positions in all logged training batches, those before a resume included."""
    windows = [entry for entry in trainer.state.log_history if "padding" in entry]
    positions = sum(entry["positions"] for entry in windows)
    return sum(entry["padding"] * entry["positions"] for entry in windows) / positions if positions else None


class _Epochs(TrainerCallback):
    def __init__(self, trainer: LengthBatchedTrainer) -> None:
        self.trainer = trainer

    def on_epoch_begin(self, args, state, control, **kwargs) -> None:
        self.trainer.set_epoch(int(state.epoch or 0))


class _LossesBefore(TrainerCallback):
    """Go on with the sums of the loss, which the Trainer begins anew when a checkpoint is resumed."""

    def __init__(self, trainer: LengthBatchedTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        before = self.trainer._losses_before
        if before is not None:
            self.trainer._total_loss_scalar = before["logged"]
            self.trainer._tr_loss += before["since"]
            self.trainer._globalstep_last_logged = before["logged_step"]
