"""recipe=auto: the terms on layers that fit the sizes of teacher and student."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from transformers import PreTrainedConfig

from kdfeatures.capture.sizes import EncoderSizes

AUTO = "auto"  # its recipe_name
ALIKE = ("hidden", "attention")  # its terms for models of one width with as many heads
UNLIKE = ("relations",)  # for others
Configs = Callable[[], tuple[PreTrainedConfig, PreTrainedConfig | None]]


def with_fitting_terms(config: Mapping[str, Any], configs: Configs) -> Mapping[str, Any]:
    """Return a run config of recipe=auto without the terms that its models cannot or should not be compared by.

    configs: gives those of student and teacher; stored outputs have none, and no layers. Another recipe's is returned
    as it is. Relations get as many heads as divide both widths, at most as many as one of the models has, unless the
    config says how many.
    """
    if config.get("recipe_name") != AUTO:
        return config
    student, teacher = configs()
    sizes = None if teacher is None else (EncoderSizes(student), EncoderSizes(teacher))
    dropped = (*ALIKE, *UNLIKE) if sizes is None else UNLIKE if are_alike(*sizes) else ALIKE
    losses = {name: node for name, node in config["losses"].items() if name not in dropped}
    for name in UNLIKE:
        node = losses.get(name)
        if sizes is not None and isinstance(node, Mapping) and "relation_heads" in node:
            heads = node["relation_heads"]
            losses[name] = {**node, "relation_heads": common_heads(*sizes) if heads is None else heads}
    return {**config, "losses": losses}


def are_alike(student: EncoderSizes, teacher: EncoderSizes) -> bool:
    """Whether hidden states need no projection, and the attention of heads can be compared one by one."""
    if student.hides_scores is not None or teacher.hides_scores is not None:
        return False
    return student.hidden_size == teacher.hidden_size and student.heads == teacher.heads


def common_heads(student: EncoderSizes, teacher: EncoderSizes) -> int:
    """Return the most relation heads that divide the attention widths of both and are no more than one of them has."""
    common = math.gcd(student.attention_width, teacher.attention_width)
    most = max(student.heads, teacher.heads)
    return max(heads for heads in range(1, most + 1) if common % heads == 0)
