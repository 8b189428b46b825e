"""What a model costs: parameters, the operations of a forward pass, and the time it takes beside other models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import torch
from datasets import Dataset
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import DataCollatorWithPadding, PreTrainedModel, PreTrainedTokenizerBase

from kdfeatures.errors import UserError
from kdfeatures.evaluation.encoded import model_inputs
from kdfeatures.evaluation.predict import Predictor, output_logits
from kdfeatures.evaluation.timing import Spread, alternating_seconds, ratios
from kdfeatures.models.limits import position_count
from kdfeatures.models.load import parameter_count

BATCH = 32  # of the throughput
SINGLE_ROUNDS, BATCH_ROUNDS, WARM_UPS = 45, 15, 3


@dataclass(frozen=True)
class Costs:
    """parameters: all, shared ones once; without_embeddings: those outside the tables of words, positions and types.

    flops: floating-point operations of one forward pass over one text of `length` tokens.
    """

    parameters: int
    without_embeddings: int
    flops: int
    length: int


@dataclass(frozen=True)
class Speed:
    """latency: seconds for one text; throughput: texts a second in batches of BATCH, padding included.

    Ratios are to the first model, round by round: a latency ratio of 0.5 and a throughput ratio of 2 are twice as fast.
    """

    latency: Spread
    throughput: Spread
    latency_ratio: Spread
    throughput_ratio: Spread


def costs(model: PreTrainedModel, *, length: int) -> Costs:
    """Count parameters and the operations of a forward pass; raises UserError for more tokens than there are positions.

    Operations are counted as they run, not estimated: those of matrix products and convolutions, 2mnk for a product
    of (m, k) and (k, n), as the literature has it (22.5 billion for BERT-base at 128 tokens); norms, activations and
    softmax are not counted.
    """
    positions = position_count(model)
    if not 1 <= length <= (positions or length):
        raise UserError(f"length={length} must lie between 1 and the model's {positions} positions")
    tables = [module.weight for module in model.modules() if isinstance(module, nn.Embedding)]
    embeddings = sum(weight.numel() for weight in {id(weight): weight for weight in tables}.values())
    total = parameter_count(model)
    return Costs(total, total - embeddings, _flops(model, length), length)


def operations_per_token(model: nn.Module) -> int:
    """Return the operations of a forward pass through a model's linear layers for one token, 2mn for each (m, n)."""
    return sum(2 * module.weight.numel() for module in model.modules() if isinstance(module, nn.Linear))


@torch.no_grad()
def _flops(model: PreTrainedModel, length: int) -> int:
    was_training = model.training
    ids = torch.zeros(1, length, dtype=torch.long, device=model.device)
    try:
        # the counter does not know the CPU's fused attention, and would count it as nothing; the plain one is products
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids))
    finally:
        model.train(was_training)
    return counter.get_total_flops()


@torch.no_grad()
def latency_and_throughput(
    models: Mapping[str, Predictor], examples: Dataset, tokenizer: PreTrainedTokenizerBase
) -> dict[str, Speed]:
    """Time models side by side, each where it is, on the same encoded `examples`; the first is the reference.

    models: whatever takes a padded batch by name and gives `.logits`, such as kdfeatures.models.export.OnnxClassifier.
    They are left in eval mode.
    """
    inputs = model_inputs(examples, tokenizer)
    singles = [[row * len(inputs) // SINGLE_ROUNDS] for row in range(SINGLE_ROUNDS)]
    batches = [[row % len(inputs) for row in range(n * BATCH, (n + 1) * BATCH)] for n in range(BATCH_ROUNDS)]
    alone, together = (_seconds(models, inputs, tokenizer, rounds) for rounds in (singles, batches))
    first = next(iter(models))
    return {
        name: Speed(
            latency=Spread.of(alone[name]),
            throughput=Spread.of([BATCH / seconds for seconds in together[name]]),
            latency_ratio=ratios(alone[name], alone[first]),
            throughput_ratio=ratios(together[first], together[name]),
        )
        for name in models
    }


def _seconds(
    models: Mapping[str, Predictor], inputs: Dataset, tokenizer: PreTrainedTokenizerBase, rounds: list[list[int]]
) -> dict[str, list[float]]:
    pad = DataCollatorWithPadding(tokenizer)
    batches = [pad(list(inputs.select(rows))) for rows in rounds]
    passes = {name: _pass(model.eval(), batches) for name, model in models.items()}
    return alternating_seconds(passes, rounds=len(batches), warm_ups=WARM_UPS)


def _pass(model: Predictor, batches: Sequence[Mapping[str, Any]]) -> Callable[[], float]:
    """Return a call that runs the model on the next batch; each model meets them in the same order."""
    coming = cycle([{name: tensor.to(model.device) for name, tensor in batch.items()} for batch in batches])
    # .item() waits for what is still running on an accelerator
    return lambda: output_logits(model(**next(coming))).sum().item()
