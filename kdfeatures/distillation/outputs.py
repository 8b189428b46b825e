"""What a batch and a model's output hold, whatever head the model has: logits, labels, which tokens count.

Sequence, token and masked-language-model heads as transformers has them, start and end logits of question answering,
and modules of one's own that return a tensor, a tuple whose first is one, a dict, or an object with `.logits`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import ModelOutput
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from kdfeatures.distillation.objective import Objective
from kdfeatures.distillation.term import ON_OUTPUTS, ON_TEACHER_LOGITS, loss_name
from kdfeatures.embeddings.pooling import pooling_of
from kdfeatures.errors import ConfigError
from kdfeatures.features import VocabularyLogits
from kdfeatures.losses.base import Outputs
from kdfeatures.losses.labels import IGNORE_INDEX, HardLabel

POSITIONS = ("start_positions", "end_positions")  # the labels of question answering
SEVERAL = "multi_label_classification"
PADDED = -1e4  # the logit of a padded position: a probability of 0, and finite differences


def attention_mask_of(inputs: Mapping[str, Any]) -> Tensor | None:
    """Return the batch's mask, (B, L), 1 for real tokens; all ones without one, None for inputs that are no tokens."""
    mask = inputs.get("attention_mask")
    if mask is None and "input_ids" in inputs:
        return torch.ones_like(inputs["input_ids"])
    return mask


def split_labels(labels: Tensor | None, inputs: Mapping[str, Any]) -> tuple[Tensor | None, dict[str, Any]]:
    """Return the labels, and the inputs without any. Start and end positions become one column, (2B,).

    A position outside the text, as transformers marks an answer that was cut off, has no label.
    """
    inputs = dict(inputs)
    if not any(name in inputs for name in POSITIONS):
        return labels, inputs
    starts, ends = (inputs.pop(name) for name in POSITIONS)
    positions = torch.cat([starts.flatten(), ends.flatten()])
    length = inputs["input_ids"].shape[1]
    return positions.masked_fill((positions < 0) | (positions >= length), IGNORE_INDEX), inputs


def logits_of(output: Any, mask: Tensor | None) -> Tensor | None:
    """Return the logits of a model's output: (B, C) of texts, (B, L, C) of tokens; None of an encoder without a head.

    Of question answering the start logits over positions and below them the end logits, (2B, L), with padded positions
    at a probability of 0: two texts' worth of logits, for any loss between logits.
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(output, tuple) and not isinstance(output, ModelOutput):
        first = output[0] if output else None
        return first if isinstance(first, Tensor) else None
    fields = output if isinstance(output, Mapping) else vars(output)
    if fields.get("start_logits") is not None:
        logits = torch.cat([fields["start_logits"], fields["end_logits"]])
        return logits if mask is None else logits.masked_fill(~mask.bool().repeat(2, 1), PADDED)
    return fields.get("logits")


def token_rows(logits: Any, mask: Tensor | None, labels: Tensor | None, config: Any) -> Tensor | None:
    """Return which tokens' logits are compared, boolean (B, L); None where logits are of texts.

    Over a vocabulary all real tokens, as DistilBERT's code does; else those with a label, all real ones where the batch
    has none.
    """
    if isinstance(logits, VocabularyLogits):
        states = logits.states
    elif isinstance(logits, Tensor) and logits.ndim == 3:
        states = logits
    else:
        return None
    real = torch.ones(states.shape[:2], dtype=torch.bool, device=states.device) if mask is None else mask.bool()
    if labels is None or logits.shape[-1] == getattr(config, "vocab_size", None):
        return real
    labelled = labels != IGNORE_INDEX
    return torch.where(labelled.any(), labelled, real)


def plain_output(output: Any, labels: Tensor | None) -> ModelOutput:
    """Return what a module of one's own returned in eval mode as transformers' models do: loss, if any, and logits."""
    logits = logits_of(output, None)
    if logits is None or labels is None:
        return ModelOutput(logits=logits)
    rows = labels != IGNORE_INDEX if logits.ndim == 3 else ...
    return ModelOutput(loss=HardLabel()(logits[rows], labels[rows]), logits=logits)


def meaning_of(model: nn.Module) -> Outputs:
    """Return what a row of a model's outputs means, as far as the model tells; see kdfeatures.losses.base."""
    if pooling_of(model) is not None:
        return "vector"
    config = getattr(model, "config", None)
    if predicts_vocabulary(model):
        return "classes"
    if type(model).__name__.endswith("ForQuestionAnswering"):
        return "positions"
    if _problem_of(model) == SEVERAL:
        return "labels"
    return "score" if getattr(config, "num_labels", None) == 1 else "classes"


def check_outputs(
    student: nn.Module, teachers: Mapping[str, nn.Module | None], objective: Objective, ordered: Collection[str] = ()
) -> None:
    """Raise ConfigError for heads that the objective's terms on outputs cannot compare, as far as models tell.

    ordered: names of the teachers of whose classes it was said which is which.
    """
    on_logits = [name for name, term in objective.terms.items() if term.loss.inputs in ON_TEACHER_LOGITS]
    on_outputs = [name for name, term in objective.terms.items() if term.loss.inputs in ON_OUTPUTS]
    if on_outputs and _has_no_head(student):
        raise ConfigError(
            f"the term '{on_outputs[0]}' reads logits, but the student {type(student).__name__} has no head",
            hint="load it with one, such as AutoModelForSequenceClassification",
            term=on_outputs[0],
        )
    _check_scores(student, objective, on_outputs)
    for name, teacher in teachers.items():
        if teacher is None or not on_logits:
            continue
        if _has_no_head(teacher):
            raise ConfigError(
                f"the term '{on_logits[0]}' reads logits, but the teacher '{name}', {type(teacher).__name__}, has no "
                "head",
                hint="load it with the head it was fine-tuned with",
                term=on_logits[0],
            )
        unlike = _unlike(student, teacher, is_ordered=name in ordered)
        if unlike is not None:
            raise ConfigError(
                f"the term '{on_logits[0]}' compares logits, but the student has {unlike.student} and the teacher "
                f"'{name}' {unlike.teacher}",
                hint=unlike.hint,
                term=on_logits[0],
            )
    if predicts_vocabulary(student):
        for name, term in objective.terms.items():
            if type(term.loss) is HardLabel:
                raise ConfigError(
                    f"the term '{name}' is {loss_name(term.loss)}, which divides by all tokens, but the student "
                    "predicts masked ones",
                    hint="take MaskedLanguageModel",
                    term=name,
                )


def _check_scores(student: nn.Module, objective: Objective, on_outputs: Sequence[str]) -> None:
    """Refuse several scores a text, which losses would take for classes."""
    if _problem_of(student) != "regression" or (_output_size(student) or 1) == 1:
        return
    for name in on_outputs:
        loss = objective.terms[name].loss
        if isinstance(loss, HardLabel) or "score" not in getattr(loss, "outputs", ("score",)):
            raise ConfigError(
                f"the student gives {_output_size(student)} scores a text (problem_type=regression), which the term "
                f"'{name}', {loss_name(loss)}, takes for classes",
                hint="take LogitMSE between outputs, and a function of your own for labels",
                term=name,
            )


class _Unlike(NamedTuple):
    student: str
    teacher: str
    hint: str


def _unlike(student: nn.Module, teacher: nn.Module, *, is_ordered: bool) -> _Unlike | None:
    """Return in what the outputs of two models cannot be compared: their number, their meaning, or their order."""
    sizes = _output_size(student), _output_size(teacher)
    if None not in sizes and sizes[0] != sizes[1]:
        return _Unlike(f"{sizes[0]} outputs", str(sizes[1]), "load both with the same labels")
    problems = _problem_of(student), _problem_of(teacher)
    if problems[0] != problems[1] and SEVERAL in problems and problems[1] is not None:
        own, its = (f"problem_type={problem}" for problem in problems)
        return _Unlike(own, its, "load both with the same")
    names = _class_names(student), _class_names(teacher)
    if not is_ordered and names[0] != names[1] and sorted(names[0]) == sorted(names[1]):
        own, its = map(", ".join, names)
        hint = "give teacher_columns, or let DistillationTrainer bring them into order"
        return _Unlike(f"the classes {own}", its, hint)
    return None


def _class_names(model: nn.Module) -> list[str]:
    id2label = getattr(getattr(model, "config", None), "id2label", None) if _is_classifier(model) else None
    return [str(id2label[number]) for number in sorted(id2label)] if id2label else []


def _problem_of(model: nn.Module) -> str | None:
    return getattr(getattr(model, "config", None), "problem_type", None) if _is_classifier(model) else None


def predicts_vocabulary(model: nn.Module) -> bool:
    """Whether a model has a masked-language-model head of transformers."""
    names = {base.__name__ for base in type(model).__mro__}
    return not names.isdisjoint(MODEL_FOR_MASKED_LM_MAPPING_NAMES.values())


def _has_no_head(model: nn.Module) -> bool:
    return isinstance(model, PreTrainedModel) and model.base_model is model and pooling_of(model) is None


def _is_classifier(model: nn.Module) -> bool:
    return type(model).__name__.endswith(("ForSequenceClassification", "ForTokenClassification"))


def _output_size(model: nn.Module) -> int | None:
    """Return C where a model's config tells it."""
    config = getattr(model, "config", None)
    if predicts_vocabulary(model):
        return getattr(config, "vocab_size", None)
    return getattr(config, "num_labels", None) if _is_classifier(model) else None
