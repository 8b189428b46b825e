import copy

import pytest
import torch
from support.tiny import tiny_classifier
from support.tokenizer_kinds import TEXTS, tokenizer_of

from kdfeatures.distillation import Distiller, Objective, Term
from kdfeatures.losses import HiddenMSE
from kdfeatures.tokenization.encode_for_both import encode_for_both

SIDES = ("right", "left")


def model_for(tokenizer, layers):
    """A model that cannot tell where in a row a text stands, and has no dropout."""
    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = tiny_classifier(layers=layers, **rates)
    model.resize_token_embeddings(len(tokenizer))
    torch.nn.init.zeros_(model.bert.embeddings.position_embeddings.weight)
    return model


@pytest.mark.parametrize("kinds", [("wordpiece uncased", "byte-bpe"), ("wordpiece uncased", "wordpiece uncased")])
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("teacher_side", SIDES)
def test_a_loss_does_not_depend_on_which_side_is_padded(kinds, side, teacher_side):
    tokenizers = [copy.deepcopy(tokenizer_of(kind)) for kind in kinds]
    torch.manual_seed(0)
    student, teacher = (model_for(words, layers) for words, layers in zip(tokenizers, (1, 2), strict=True))
    for words, its_side in zip(tokenizers, (side, teacher_side), strict=True):
        words.padding_side = its_side
    objective = Objective(hidden=Term(HiddenMSE(), layers="last"))
    distiller = Distiller(student, teacher, objective, same_ids=True).train()
    together = distiller(**encode_for_both(TEXTS[:4], *tokenizers)).loss
    alone = [distiller(**encode_for_both([text], *tokenizers)).loss for text in TEXTS[:4]]
    torch.testing.assert_close(together, sum(alone) / 4)
