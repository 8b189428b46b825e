"""Eager attention that returns its scores before softmax as its `attentions`, as TinyBERT's patched BERT does.

The eager attention of transformers returns probabilities, after dropout. With the scores in their place, peers that
compare whatever the models return as attention compute the same loss as kdfeatures.
"""

from __future__ import annotations

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

IMPLEMENTATION = "returned_scores"


def attend(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
    scores = query @ key.mT * scaling
    probabilities = torch.softmax(scores if attention_mask is None else scores + attention_mask, dim=-1)
    probabilities = torch.nn.functional.dropout(probabilities, p=dropout, training=module.training)
    return (probabilities @ value).transpose(1, 2).contiguous(), scores


AttentionInterface.register(IMPLEMENTATION, attend)
AttentionMaskInterface.register(IMPLEMENTATION, eager_mask)
