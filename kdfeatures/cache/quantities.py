"""What is kept of an example, and which of it an objective needs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from transformers import PreTrainedConfig, PreTrainedModel

from kdfeatures.capture.decoder import decoder_of
from kdfeatures.capture.sizes import EncoderSizes
from kdfeatures.distillation.bound import BoundObjective
from kdfeatures.errors import UserError
from kdfeatures.features import OPERANDS
from kdfeatures.mapping.pairs import DEFAULT_TEACHER
from kdfeatures.runtime import quantized
from kdfeatures.tasks.registry import task_type
from kdfeatures.tasks.task import Task


class Quantity(NamedTuple):
    """One array of the cache: `of` is logits, token_logits, decoder_states, hidden, query, key or value.

    layer is None for what the head gives or takes, that is the first three.
    """

    of: str
    layer: int | None = None

    @property
    def name(self) -> str:
        """The name of its file."""
        return self.of if self.layer is None else f"{self.of}.{self.layer}"

    @property
    def layer_number(self) -> int:
        """The layer of what has one."""
        assert self.layer is not None
        return self.layer

    @property
    def per_token(self) -> bool:
        """Whether it has a row for each token, or one for each example."""
        return self.of != "logits"

    @property
    def is_logits(self) -> bool:
        return self.of in ("logits", "token_logits")


LOGITS = Quantity("logits")
TOKEN_LOGITS = Quantity("token_logits")
DECODER_STATES = Quantity("decoder_states")


def logits_for(task: Task) -> Quantity:
    """The logits of a teacher for this task: of examples or of tokens; over a vocabulary what they are made of."""
    if task_type(task).over_vocabulary:
        return DECODER_STATES
    return TOKEN_LOGITS if task_type(task).per_token else LOGITS


def needed(
    objective: BoundObjective, teacher: str = DEFAULT_TEACHER, *, logits: Quantity = LOGITS
) -> tuple[Quantity, ...]:
    """Return what the objective's terms take from a teacher; of attention only the operands that a loss reads."""
    quantities = {logits} if objective.needs_logits_of(teacher) else set()
    quantities |= {Quantity("hidden", n) for n in objective.layers("hidden", "teacher", teacher)}
    for term in objective.terms.values():
        if term.loss.inputs == "attention" and term.teacher == teacher:
            quantities |= {Quantity(of, pair.teacher) for of in term.loss.operands for pair in term.pairs}
    return in_order(quantities)


def check_scores_kept(objective: BoundObjective, teacher: str, config: PreTrainedConfig) -> None:
    """Raise UserError where a term compares scores to which a teacher adds position terms: a cache keeps q and k alone.

    config: the teacher's.
    """
    terms = objective.terms.items()
    on_scores = [
        name for name, term in terms if term.teacher == teacher and getattr(term.loss, "compares_scores", False)
    ]
    if on_scores and EncoderSizes.of(config).adds_positions:
        raise UserError(
            f"losses.{on_scores[0]} compares attention scores, of which a cache keeps queries and keys, but "
            f"'{config.model_type}' adds relative positions to them; set cache=off, or use relation_kl."
        )


def check_decoder(task: Task, teacher: PreTrainedModel, option: str, dtype: str) -> None:
    """Raise UserError where a vocabulary's logits are not those of one linear layer, whose input a cache would keep.

    teacher: in the precision in which it was loaded. option: how the user named it. dtype: in which it shall run.
    """
    if not task_type(task).over_vocabulary:
        return
    reason = None
    if dtype == quantized.DTYPE:
        reason = f"with teacher.dtype={dtype} that layer gives rounded ones"
    elif decoder_of(teacher) is None:
        reason = f"the head of {option}, '{teacher.config.model_type}', is another"
    if reason is not None:
        raise UserError(
            "cache=auto keeps no logits over a vocabulary, but the states that one linear layer makes them of, and "
            f"{reason}; use cache=off."
        )


def in_order(quantities: Iterable[Quantity]) -> tuple[Quantity, ...]:
    """Return each quantity once, logits first, then by kind and layer."""
    return tuple(sorted(set(quantities), key=lambda quantity: (quantity.layer is not None, quantity)))


def layers_of(quantities: Iterable[Quantity], *kinds: str) -> list[int]:
    """The layers of which one of `kinds` is among the quantities."""
    return sorted({quantity.layer_number for quantity in quantities if quantity.of in kinds})


def describe_quantities(quantities: Iterable[Quantity]) -> str:
    """Return quantities in words: "logits, hidden of layers 0, 3, query of layers 6"."""
    quantities = tuple(quantities)
    parts = ["logits"] if any(quantity.is_logits for quantity in quantities) else []
    parts += ["states before the decoder"] if DECODER_STATES in quantities else []
    for of in ("hidden", *OPERANDS):
        layers = layers_of(quantities, of)
        if layers:
            parts.append(f"{of} of layer{'s' if len(layers) > 1 else ''} {', '.join(map(str, layers))}")
    return ", ".join(parts)
