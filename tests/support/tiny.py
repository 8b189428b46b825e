"""Tiny random encoders of every family, and batches for them."""

from __future__ import annotations

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedConfig

VOCABULARY = 99

# what a family needs beyond BERT's names to be small, and to show what is special about it
OWN = {
    "electra": {"embedding_size": 16},
    "xmod": {"languages": ("en_XX", "de_DE"), "default_language": "en_XX"},
    "albert": {"embedding_size": 16},
    "mobilebert": {"embedding_size": 16, "true_hidden_size": 16, "intra_bottleneck_size": 16},
    "modernbert": {"local_attention": 6, "global_attn_every_n_layers": 3},  # some tokens lie outside the window
    "eurobert": {"num_key_value_heads": 2, "mask_token_id": 3},
    "esm": {"position_embedding_type": "rotary"},
    "deberta": {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "deberta-v2": {
        "relative_attention": True,
        "pos_att_type": ["c2p", "p2c"],
        "position_buckets": 4,
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
        "conv_kernel_size": 3,
    },
    "roformer": {"embedding_size": 16},
    "rembert": {"input_embedding_size": 16, "output_embedding_size": 16},
    "convbert": {"embedding_size": 16, "conv_kernel_size": 3},
    "funnel": {"architectures": ["FunnelBaseModel"]},  # AutoModel has a second one, with a decoder
    "longformer": {"attention_window": 4},
    "squeezebert": {"embedding_size": 24},
}
SPECIAL_TOKENS = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "cls_token_id": 0, "sep_token_id": 2}
DROPOUTS = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "attention_dropout",
    "hidden_dropout",
    "dropout",
    "activation_dropout",
    "mlp_dropout",
    "embedding_dropout",
)
# families whose special tokens lie outside it
OUTSIDE_VOCABULARY = ("modernbert", "eurobert", "esm", "gte", "nomic_bert", "jina_embeddings_v3", "rembert")


def tiny_config(family: str, *, layers: int = 3, width: int = 24, heads: int = 4, **more) -> PreTrainedConfig:
    """Return a config of a family; dropout as the family has it."""
    if family == "distilbert":
        sizes = {"n_layers": layers, "dim": width, "n_heads": heads, "hidden_dim": 2 * width}
    elif family == "funnel":
        sizes = {"block_sizes": [1, layers - 1], "d_model": width, "n_head": heads, "d_head": width // heads}
        sizes["d_inner"] = 2 * width
    else:
        sizes = {"num_hidden_layers": layers, "hidden_size": width, "num_attention_heads": heads}
        sizes["intermediate_size"] = 2 * width
    if family in OUTSIDE_VOCABULARY:
        sizes |= SPECIAL_TOKENS
    return AutoConfig.for_model(family, vocab_size=VOCABULARY, **sizes, **(OWN.get(family, {}) | more))


def tiny_classifier(family: str = "bert", *, num_labels: int = 2, **sizes):
    """Return a randomly initialised classifier in eval mode."""
    return AutoModelForSequenceClassification.from_config(tiny_config(family, num_labels=num_labels, **sizes)).eval()


@torch.no_grad()
def decided(model):
    """Return the model with larger weights, so that its attention is far from uniform."""
    std = 0.12 if model.config.model_type == "mobilebert" else 0.3  # it has no norms that would keep numbers small
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=std)
    return model


def undropped(family: str):
    """Return a decided model whose config sets every dropout to 0."""
    return dropping(family, hidden=0.0, attention=0.0)


def dropping(family: str, *, hidden: float, attention: float):
    """Return a decided model with this dropout of attention probabilities and that one everywhere else."""
    named = {name: attention if "attention" in name else hidden for name in DROPOUTS}
    own = tiny_config(family)
    return decided(tiny_classifier(family, **{name: rate for name, rate in named.items() if hasattr(own, name)}))


def tiny_batch(lengths: tuple[int, ...] = (9, 5, 7)) -> dict[str, torch.Tensor]:
    """Return input_ids and attention_mask (B, max(lengths)), padded with 1 (RoBERTa's pad id; any id will do)."""
    ids = torch.full((len(lengths), max(lengths)), 1)
    mask = torch.zeros_like(ids)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.randint(5, VOCABULARY, (length,))
        mask[row, :length] = 1
    return {"input_ids": ids, "attention_mask": mask}


def model_entry(path: str = "somewhere", *, parameters: int = 2_500_000, metrics: dict | None = None) -> dict:
    """Return what results.json says of a model."""
    return {
        "path": path,
        "model_type": "bert",
        "layers": 4,
        "hidden_size": 128,
        "heads": 4,
        "parameters": parameters,
        "metrics": metrics or {"validation": {"accuracy": 0.875}},
    }
