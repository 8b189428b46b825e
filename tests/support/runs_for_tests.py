"""A small distillation run on generated data: the pieces that tests of distiller and trainer share."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from datasets import Dataset
from support.tiny import VOCABULARY, tiny_classifier
from transformers import DataCollatorWithPadding, TrainerCallback, TrainingArguments

from kdfeatures.alignment.projections import LinearProjections
from kdfeatures.data.synthetic import tokenizer
from kdfeatures.distillation.bound import BoundObjective
from kdfeatures.distillation.distiller import Distiller
from kdfeatures.distillation.term import BoundTerm
from kdfeatures.losses import HardLabel, HiddenMSE, LogitKD, RelationKL
from kdfeatures.mapping.pairs import LayerPair
from kdfeatures.training.build import _weighed_loss
from kdfeatures.training.length_batched import LengthBatchedTrainer
from kdfeatures.training.trainer import DistillationTrainer

QUIET = {
    "use_cpu": True,
    "logging_steps": 1,
    "save_strategy": "no",
    "remove_unused_columns": False,
    "label_names": ["labels"],
    "report_to": "none",
    "disable_tqdm": True,
}
OF_TRAINER = ("projection_", "tokens_per_batch", "optimizer_")
PAIRS = (LayerPair(0, 0), LayerPair(1, 2), LayerPair(2, 3))


def small_distiller(*, dropout: float = 0.0, seed: int = 0, terms: tuple[str, ...] = ()) -> Distiller:
    """Return a 2 x 16 student (2 heads) of a 3 x 24 teacher (4 heads), with all kinds of terms, or those named."""
    torch.manual_seed(seed)
    rates = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    teacher = tiny_classifier(layers=3, width=24, heads=4)
    student = tiny_classifier(layers=2, width=16, heads=2, **rates)
    made = {
        "labels": BoundTerm(HardLabel(), 0.5),
        "logits": BoundTerm(LogitKD(temperature=2.0), 0.5),
        "hidden": BoundTerm(HiddenMSE(), 1.0, PAIRS, "sum"),
        "relations": BoundTerm(RelationKL(relation_heads=4), 0.1, (LayerPair(2, 3),)),
    }
    made = {name: made[name] for name in terms} if terms else made
    projections = LinearProjections(PAIRS, 16, 24, shared=False, bias=True, always=False)
    return Distiller(student, teacher, BoundObjective(made, projections), [0, 1])


def small_dataset(examples: int = 48) -> Dataset:
    """Return tokenised examples of many lengths with learnable labels."""
    generator = torch.Generator().manual_seed(7)
    rows = []
    for _ in range(examples):
        length = int(torch.randint(4, 13, (1,), generator=generator))
        ids = torch.randint(5, VOCABULARY, (length,), generator=generator).tolist()
        rows.append({"input_ids": ids, "attention_mask": [1] * length, "labels": int(ids[1] > VOCABULARY // 2)})
    return Dataset.from_list(rows)


def small_trainer(model: Distiller, folder: Path, *, examples: int = 48, **settings) -> DistillationTrainer:
    """Return a trainer with everything but `settings` fixed; those of OF_TRAINER are its own."""
    own = {name: settings.pop(name) for name in list(settings) if name.startswith(OF_TRAINER)}
    arguments = {
        **QUIET,
        "output_dir": str(folder),
        "per_device_train_batch_size": 8,
        "num_train_epochs": 2,
        "learning_rate": 1e-3,
        "seed": 5,
        "data_seed": 5,
    } | settings
    words = tokenizer()
    return DistillationTrainer(
        model,
        TrainingArguments(**arguments),
        DataCollatorWithPadding(words),
        train_dataset=small_dataset(examples),
        eval_dataset=small_dataset(16),
        processing_class=words,
        **own,
    )


def plain_trainer(
    folder: Path, *, loss: HardLabel | None = None, tokens_per_batch: int | None = None, **settings
) -> LengthBatchedTrainer:
    """Return the trainer of a classifier without a teacher, as `finetune` makes it: SGD, so that steps show."""
    torch.manual_seed(0)
    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    arguments = {
        **QUIET,
        "output_dir": str(folder),
        "optim": "sgd",
        "learning_rate": 0.1,
        "max_grad_norm": 0.0,
        "max_steps": 2,
        "train_sampling_strategy": "group_by_length",
    } | settings
    words = tokenizer()
    return LengthBatchedTrainer(
        tiny_classifier(**rates),
        TrainingArguments(**arguments),
        DataCollatorWithPadding(words),
        train_dataset=small_dataset(),
        eval_dataset=small_dataset(16),
        processing_class=words,
        tokens_per_batch=tokens_per_batch,
        compute_loss_func=None if loss is None else partial(_weighed_loss, loss),
    )


class StopAt(TrainerCallback):
    """Ends training after a step, as a kill would, with the schedule still meant for the whole run."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step >= self.step
        return control


def weights(trainer) -> dict[str, torch.Tensor]:
    """Return copies of all that a trainer trains."""
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
