"""Stop at the first number that is not finite, and say where it came from: the teacher, the weights, or the step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from kdfeatures.distillation.outputs import attention_mask_of
from kdfeatures.distillation.teacher_outputs import BatchOutputs
from kdfeatures.errors import Diverged

NAMED = 3  # examples that an error names


def check_parameters(model: nn.Module, when: str) -> None:
    """Raise Diverged when a parameter is not finite: what is saved can be loaded. when: such as "after step 7"."""
    broken = [name for name, parameter in model.named_parameters() if not parameter.isfinite().all()]
    if broken:
        raise Diverged(
            f"the weights {_some(broken)} are not finite {when}, so nothing was saved; the last checkpoint is whole. "
            "Lower the learning rate, or train in float32."
        )


def check_batch(
    loss: Tensor,
    step: int,
    terms: Mapping[str, Tensor],
    inputs: Mapping[str, Any],
    trainer: Any,
    teacher: Callable[[], BatchOutputs] | None = None,
) -> None:
    """Raise Diverged unless the loss of a batch is finite; nothing is learned from it.

    terms: their unweighted values, by name; of a plain model none. trainer: of whose training examples and tokenizer
    the error speaks. teacher: gives the teachers' outputs for the batch, as BatchOutputs.
    """
    if bool(loss.isfinite()):
        return
    size = len(next(iter(inputs.values())))
    at_fault = [name for name, value in terms.items() if not value.isfinite()]
    of = f"the term {_some(at_fault)}" if at_fault else "the loss"
    where = f"{of} is not finite in step {step}, before anything was learned from it"
    outputs = {} if teacher is None else tensors_of(teacher())
    for name, tensor in outputs.items():
        if not tensor.isfinite().all():
            rows = _broken_rows(tensor, size)
            raise Diverged(
                f"{where}: the teacher's {name} are not finite for {_named(inputs, rows, trainer)}. The teacher is at "
                "fault, not the learning rate: take it in float32 (teacher.dtype=float32), or another one."
            )
    logits = _student_logits(trainer.model, inputs)
    rows = torch.ones(size, dtype=torch.bool) if logits is None else _broken_rows(logits, size)
    if logits is not None and not logits.isfinite().all():
        raise Diverged(
            f"{where}: the student's outputs are not finite for {_named(inputs, rows, trainer)}. The last checkpoint "
            "is whole; lower the learning rate, or train in float32."
        )
    named = _named(inputs, torch.ones(size, dtype=torch.bool), trainer)
    raise Diverged(
        f"{where}, though both models' outputs are, in a batch with {named}; "
        f"look at the settings of {of}, such as its weight and temperature."
    )


def check_gradient(norm: Any, step: int) -> None:
    """Raise Diverged unless the norm of a step's gradient is finite, before the weights are changed by it."""
    if isinstance(norm, Tensor) and not bool(norm.isfinite()):
        raise Diverged(
            f"the gradient of step {step} is not finite, though the loss is; the weights were not changed by it, and "
            "the last checkpoint is whole. Lower the learning rate, or train in float32."
        )


def tensors_of(outputs: BatchOutputs) -> dict[str, Tensor]:
    """Return what a model gave for a batch, by a name for errors."""
    named: dict[str, Any] = {"logits": outputs.logits}
    if isinstance(outputs.logits, Mapping):
        named = {f"logits of {teacher}": logits for teacher, logits in outputs.logits.items()}
    named |= {f"hidden states of layer {layer}": states for layer, states in outputs.features.hidden.items()}
    return {name: tensor for name, tensor in named.items() if isinstance(tensor, Tensor)}


def _broken_rows(tensor: Tensor, size: int) -> Tensor:
    """Return which of `size` examples have a value that is not finite, boolean (B,); all where that is not told."""
    if tensor.shape[:1] != (size,):
        return torch.ones(size, dtype=torch.bool)
    return ~tensor.detach().flatten(1).isfinite().all(1).cpu()


@torch.no_grad()
def _student_logits(model: Any, inputs: Mapping[str, Any]) -> Tensor | None:
    was_training = model.training
    model.eval()
    try:
        output = model(**{name: value for name, value in inputs.items() if name not in ("teacher_features", "rows")})
    finally:
        model.train(was_training)
    logits = output.get("logits") if isinstance(output, Mapping) else None
    return logits if isinstance(logits, Tensor) else None


def _named(inputs: Mapping[str, Any], rows: Tensor, trainer: Any) -> str:
    """Return how an error names the examples of a batch for which `rows`, boolean (B,), is true.

    By their numbers among the training examples, which are looked for by their tokens, and the beginning of the first.
    """
    ids, mask = inputs.get("input_ids"), attention_mask_of(inputs)
    in_batch = f"rows {_some(rows.nonzero()[:, 0].tolist())} of the batch"
    if ids is None or mask is None:
        return in_batch
    real = mask.bool()
    tokens = [ids[row][real[row]].tolist() for row in rows.nonzero()[:, 0].tolist()]
    examples, tokenizer = trainer.train_dataset, trainer.processing_class
    numbers: list[int] = []
    if isinstance(examples, Dataset) and "input_ids" in examples.column_names:
        wanted = {tuple(row) for row in tokens}
        numbers = [n for n, row in enumerate(examples["input_ids"][:]) if tuple(row) in wanted]
    text = ""
    if isinstance(tokenizer, PreTrainedTokenizerBase):
        text = f" ('{str(tokenizer.decode(tokens[0], skip_special_tokens=True))[:60]}')"
    return f"{f'training examples {_some(numbers)}' if numbers else in_batch}{text}"


def _some(names: Sequence[Any]) -> str:
    shown = ", ".join(str(name) for name in names[:NAMED])
    return f"{shown} and {len(names) - NAMED} more" if len(names) > NAMED else shown
