"""The model that fine-tuning starts from: a pretrained encoder, or a random one for a generated task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from transformers import AutoModelForSequenceClassification, BertConfig, PreTrainedModel, PreTrainedTokenizerBase

from kdfeatures.data.synthetic import tokenizer as synthetic_tokenizer
from kdfeatures.errors import ConfigError, UserError
from kdfeatures.hub.models import check_revision, with_revision
from kdfeatures.models.load import label_settings, load_for_task
from kdfeatures.models.tokenizers import load_tokenizer
from kdfeatures.ranges import MAX_HEADS, MAX_INTERMEDIATE, MAX_LAYERS, MAX_WIDTH, Range
from kdfeatures.tasks.task import Task

POSITIONS = 64  # tokens; generated examples are shorter


@dataclass(frozen=True)
class EncoderSpec:
    """path: folder or Hub id to fine-tune; None draws a random BERT of these sizes (generated tasks only).

    revision: branch, tag or commit of a model on the Hub; None takes the cache's, see kdfeatures.hub.models.
    """

    path: str | None = None
    revision: str | None = None
    layers: Annotated[int, Range(1, MAX_LAYERS)] = 4
    hidden_size: Annotated[int, Range(1, MAX_WIDTH)] = 64
    heads: Annotated[int, Range(1, MAX_HEADS)] = 4
    intermediate_size: Annotated[int, Range(1, MAX_INTERMEDIATE)] = 256
    dropout: Annotated[float, Range(0, 1, below=True)] = 0.0
    # the usual 0.02 is too small for so narrow an encoder
    initializer_range: Annotated[float, Range(0, 100, above=True)] = 0.05

    def __post_init__(self) -> None:
        check_revision(self.path, self.revision, "model")

    @property
    def source(self) -> str:
        """The path with its revision; there must be one."""
        assert self.path is not None
        return with_revision(self.path, self.revision, "model.path")


def start_model(spec: EncoderSpec, task: Task) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return the model with a head for the task, and its tokenizer. Raises UserError for a task that needs a path."""
    if spec.path is not None:
        return load_for_task(spec.source, "model.path", task), load_tokenizer(spec.source, "model.path")
    if task.embedded is None:
        raise UserError(
            f"task={task.name} needs a pretrained encoder: give model.path=FOLDER_OR_HUB_ID (only generated tasks "
            "start from nothing)."
        )
    return AutoModelForSequenceClassification.from_config(random_config(spec, task)), synthetic_tokenizer()


def random_config(spec: EncoderSpec, task: Task) -> BertConfig:
    """Return the config of a random encoder for a generated task; raises ConfigError for sizes that do not fit."""
    for name in ("layers", "hidden_size", "heads", "intermediate_size"):
        if getattr(spec, name) < 1:
            raise ConfigError("must be at least 1", argument=name, value=getattr(spec, name), section="model")
    if spec.hidden_size % spec.heads:
        raise ConfigError(
            f"hidden_size={spec.hidden_size} is not a multiple of heads={spec.heads}",
            hint="choose heads so that it divides the width",
            key="model.heads",
            hidden_size=spec.hidden_size,
            heads=spec.heads,
        )
    tokenizer = synthetic_tokenizer()
    return BertConfig(
        vocab_size=len(tokenizer),
        num_hidden_layers=spec.layers,
        hidden_size=spec.hidden_size,
        num_attention_heads=spec.heads,
        intermediate_size=spec.intermediate_size,
        hidden_dropout_prob=spec.dropout,
        attention_probs_dropout_prob=spec.dropout,
        initializer_range=spec.initializer_range,
        max_position_embeddings=POSITIONS,
        pad_token_id=tokenizer.pad_token_id,
        **label_settings(task),
    )
