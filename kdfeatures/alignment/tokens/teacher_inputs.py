"""What a batch holds for a teacher with another tokenizer than the student.

    batch["teacher_inputs"] = {
        "main": {                     # the teacher's name
            "input_ids", "attention_mask", ...   (B, L_t), of the teacher's own tokenizer
            "student_groups"          (B, L_s), the group of each token of the student, -1 for none
            "teacher_groups"          (B, L_t), likewise of the teacher's
            "group_mask"              (B, G), True for groups that there are
            "rows"                    (B, L_t), tokens whose logits are compared; only where models give logits for them
        }
    }

Groups are there where tokenizers tell where tokens lie in the text, and some group is more than a token of each: else
tokens are compared as they are. Logits of texts need none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig

from kdfeatures.alignment.tokens.groups import Grouped, TokenGroups
from kdfeatures.errors import ConfigError

STUDENT_GROUPS, TEACHER_GROUPS, GROUP_MASK, ROWS = "student_groups", "teacher_groups", "group_mask", "rows"
NOT_OF_A_MODEL = (STUDENT_GROUPS, TEACHER_GROUPS, GROUP_MASK, ROWS)
SPECIAL = ("cls_token_id", "sep_token_id", "bos_token_id", "eos_token_id")
LARGEST_PADDING = 128  # rows by which tables are filled up, to a multiple of at most so many


def inputs_of_teacher(teacher_inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what the teacher's forward takes of its part of the batch."""
    return {name: value for name, value in teacher_inputs.items() if name not in NOT_OF_A_MODEL}


def groups_of(
    teacher_inputs: Mapping[str, Mapping[str, Tensor]] | None, mask: Tensor | None
) -> dict[str, TokenGroups] | None:
    """Return the groups of a batch by teacher; None without any. mask: (B, L_s), 1 for the student's real tokens."""
    if teacher_inputs is None:
        return None
    groups = {}
    for name, its in teacher_inputs.items():
        if STUDENT_GROUPS not in its:
            continue
        of_student, of_teacher = its[STUDENT_GROUPS], its[TEACHER_GROUPS]
        its_mask = its.get("attention_mask")
        groups[name] = TokenGroups(
            Grouped(of_student, torch.ones_like(of_student) if mask is None else mask),
            Grouped(of_teacher, torch.ones_like(of_teacher) if its_mask is None else its_mask),
            its[GROUP_MASK].bool(),
        )
    return groups


def check_same_ids(student: Any, teacher: Any, name: str) -> None:
    """Raise ConfigError when the configs of two models tell that one token has another id in either.

    Their tables then differ by more than padding, or they have other ids for special tokens. Models without a
    transformers config are taken to agree.
    """
    configs = [getattr(model, "config", None) for model in (student, teacher)]
    if not all(isinstance(config, PreTrainedConfig) for config in configs):
        return
    own, its = (getattr(config, "vocab_size", None) for config in configs)
    difference = None
    if own is not None and its is not None and own != its and not _is_padded(own, its):
        difference = f"{own} and {its} tokens"
    for key in SPECIAL:
        ids = [getattr(config, key, None) for config in configs]
        if None not in ids and ids[0] != ids[1]:
            difference = difference or f"{key} {ids[0]} and {ids[1]}"
    if difference:
        raise ConfigError(
            f"the student and the teacher '{name}' have other vocabularies ({difference}), so the student's ids would "
            "be other words to the teacher",
            hint="give the teacher's own inputs as teacher_inputs (kdfeatures.encode_for_both makes them), or say "
            "same_ids=True if one tokenizer made the ids of both",
            key="distiller.other_ids",
        )


def _is_padded(one: int, other: int) -> bool:
    larger = max(one, other)
    return abs(one - other) < LARGEST_PADDING and larger % 8 == 0
