"""Which module of a layer does what: the linear maps whose rows or columns are heads, neurons or directions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from kdfeatures.capture.families import encoder_of, family_of

# by the path of the attention module below a layer: q, k and v inside it, the output map below the layer
PROJECTIONS: dict[str, tuple[tuple[str, str, str], str]] = {
    "attention.self": (("query", "key", "value"), "attention.output.dense"),
    "attention": (("q_lin", "k_lin", "v_lin"), "attention.out_lin"),
    "attention.attn": (("q", "k", "v"), "attention.attn.o"),
}
# absolute or shared additive positions, one map each for q, k and v, layers of one shape
PRUNABLE = (
    "bert", "ernie", "roberta", "xlm-roberta", "camembert", "data2vec-text", "electra", "roberta-prelayernorm",
    "rembert", "megatron-bert", "distilbert", "mpnet",
)  # fmt: skip


@dataclass(frozen=True)
class LayerParts:
    """The linear maps of one layer. up and down: the feed-forward network's, (neurons, D) and (D, neurons)."""

    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    output: nn.Linear
    up: nn.Linear
    down: nn.Linear

    @property
    def linears(self) -> tuple[nn.Linear, ...]:
        return self.query, self.key, self.value, self.output, self.up, self.down


def layer_parts(model: PreTrainedModel) -> list[LayerParts]:
    """Return the parts of every layer of a model of a PRUNABLE family."""
    attention_path: Any = family_of(model.config).attention
    names, output_name = PROJECTIONS[attention_path]
    parts = []
    for layer in encoder_of(model).layers:
        attention: Any = layer.get_submodule(attention_path)
        query, key, value = (attention.get_submodule(name) for name in names)
        output: Any = layer.get_submodule(output_name)
        of_attention = {id(module) for module in (query, key, value, output)}
        up, down = (
            module for module in layer.modules() if isinstance(module, nn.Linear) and id(module) not in of_attention
        )
        parts.append(LayerParts(query, key, value, output, up, down))
    return parts


def shared_position_table(model: PreTrainedModel) -> nn.Embedding | None:
    """Return the table of additive position terms, (buckets, heads), that all layers share, or None."""
    tables = dict(model.base_model.named_modules())
    table = tables.get("encoder.relative_attention_bias")
    return table if isinstance(table, nn.Embedding) else None
