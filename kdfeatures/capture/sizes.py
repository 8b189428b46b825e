"""What of an encoder's config an objective must know: depth, widths, heads."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedConfig

from kdfeatures.capture.families import family_of
from kdfeatures.capture.locate import locate_encoder


@dataclass(frozen=True)
class EncoderSizes:
    """The sizes of one encoder. Those of its attention are not always the config's: MobileBERT, ConvBERT.

    Reading `heads`, `attention_width`, `adds_positions` or `hides_scores` raises UserError for a family without a row
    in FAMILIES.
    """

    config: PreTrainedConfig

    @classmethod
    def of(
        cls, model: nn.Module | PreTrainedConfig, encoder: str | None = None, argument: str = "encoder"
    ) -> EncoderSizes:
        """Return the sizes of a model, or of one with this config. encoder, argument: see locate_encoder."""
        if isinstance(model, PreTrainedConfig):
            return cls(model)
        return cls(locate_encoder(model, encoder, argument).config)

    @property
    def layers(self) -> int:
        return self.config.num_hidden_layers

    @property
    def hidden_size(self) -> int:
        return self.config.hidden_size

    @property
    def model_type(self) -> str:
        return self.config.model_type

    @property
    def heads(self) -> int:
        """Attention heads H of a layer."""
        return family_of(self.config).heads(self.config)

    @property
    def attention_width(self) -> int:
        """H * d."""
        return family_of(self.config).width(self.config)

    @property
    def adds_positions(self) -> bool:
        """Whether attention adds position terms to q k'."""
        return family_of(self.config).positional(self.config)

    @property
    def hides_scores(self) -> str | None:
        """Why scores before softmax are not compared; None where they follow from q, k and position terms."""
        return family_of(self.config).hides_scores(self.config)
