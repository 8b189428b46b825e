"""Load a model's config as what it says of the architecture, without what it says of how to run it."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, PreTrainedConfig
from transformers.activations import ACT2FN
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from kdfeatures.errors import UserError, nearest
from kdfeatures.models.folders import folder_of, loading
from kdfeatures.ranges import MAX_HEADS, MAX_LAYERS, MAX_WIDTH

# what a caller decides, and what a student would inherit: outputs that a forward pass returns and in which form, the
# attention kernel, memory savers, and the precision of the file
RUN_TIME = (
    "output_attentions", "output_hidden_states", "return_dict", "use_return_dict", "use_cache", "torchscript",
    "chunk_size_feed_forward", "gradient_checkpointing", "attn_implementation", "_attn_implementation",
    "_attn_implementation_internal", "experts_implementation", "dtype", "torch_dtype",
)  # fmt: skip
ACTIVATIONS = ("hidden_act", "activation", "hidden_activation")
AT_MOST = {"num_hidden_layers": MAX_LAYERS, "num_attention_heads": MAX_HEADS, "hidden_size": MAX_WIDTH}
MAX_LABELS = 10**6
AT_LEAST_ONE = ("num_hidden_layers", "num_attention_heads", "hidden_size", "vocab_size", "max_position_embeddings")


def load_config(path: str, option: str) -> PreTrainedConfig:
    """Load the config at `path`, in float32 and without RUN_TIME; `option` is how the user named it, for the error.

    Raises UserError for one that cannot be loaded, for quantised weights, and for sizes and activations that no model
    can have.
    """
    folder = folder_of(path, option, "config")
    with loading(option, path, "model config"):
        given, _ = PreTrainedConfig.get_config_dict(str(folder))
        if not isinstance(given, dict) or given.get("model_type") not in CONFIG_MAPPING:
            if isinstance(given, dict) and given.get("auto_map"):
                raise UserError(
                    f"{option}={path} brings its own Python code (auto_map in its config.json) for the model type "
                    f"{given.get('model_type')!r}, and code of a model's folder is not run. If you trust it, load the "
                    "model yourself and give it to kdfeatures.DistillationTrainer."
                )
            # its words for what is missing; of a type that transformers does not know no code is run
            AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
            raise ValueError("transformers does not know its model_type.")
    _check(given, f"{option}={path}")
    with loading(option, path, "model config"):
        architecture = {key: value for key, value in given.items() if key not in RUN_TIME}
        config = CONFIG_MAPPING[given["model_type"]].from_dict(architecture)
    for key, most in AT_MOST.items():
        value = getattr(config, key, None)  # which families name differently in their files
        if type(value) is int and value > most:
            raise UserError(f"{option}={path}: its config.json has {key} {value:,}, which must be at most {most:,}.")
    config.dtype = torch.float32
    config._name_or_path = path
    return config


def _check(given: dict[str, Any], named: str) -> None:
    if given.get("quantization_config") is not None:
        raise UserError(
            f"{named} holds quantised weights (quantization_config in its config.json); give the model they were made "
            "from."
        )
    for key in ACTIVATIONS:
        value = given.get(key)
        if isinstance(value, str) and value not in ACT2FN:
            raise UserError(f"{named}: its config.json has the unknown {key} '{value}'{nearest(value, ACT2FN)}.")
    for key in AT_LEAST_ONE:
        value = given.get(key)
        if type(value) is int and value < 1:
            raise UserError(f"{named}: its config.json has {key} {value}, which must be at least 1.")
    count = given.get("num_labels")
    if type(count) is int and count > MAX_LABELS:  # a name is made for each
        raise UserError(f"{named}: its config.json has num_labels {count:,}, which must be at most {MAX_LABELS:,}.")
    labels = given.get("id2label")
    if labels is not None and not isinstance(labels, dict):
        raise UserError(f"{named}: its config.json has an id2label that is no mapping of ids to names: {labels!r:.60}.")
