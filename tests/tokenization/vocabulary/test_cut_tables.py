"""Models cut to some of their tokens give what the whole ones give."""

import copy

import pytest
import torch
from support.tiny import decided, tiny_classifier, tiny_config
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification

from kdfeatures.errors import UserError
from kdfeatures.tokenization.vocabulary import cut_tables

FAMILIES = ["bert", "roberta", "distilbert", "mpnet", "xlm-roberta", "albert", "modernbert", "deberta-v2", "electra"]
KEPT = [0, 1, 2, 3, 7, 9, 20, 41, 42, 77, 98]  # of 99


def inputs():
    new = torch.tensor([[0, 5, 6, 10, 2], [0, 9, 2, 1, 1]])
    mask = (torch.arange(5) < torch.tensor([[5], [3]])).long()
    return new, torch.tensor(KEPT)[new], mask


@pytest.mark.parametrize("family", FAMILIES)
def test_a_classifier_gives_the_logits_of_the_whole_one(family, tmp_path):
    torch.manual_seed(0)
    whole = (
        decided(tiny_classifier(family, pad_token_id=1))
        if family not in ("modernbert",)
        else decided(tiny_classifier(family))
    )
    small = copy.deepcopy(whole)
    cut_tables(small, KEPT)
    new, old, mask = inputs()
    with torch.no_grad():
        expected = whole(input_ids=old, attention_mask=mask).logits
        assert torch.equal(small(input_ids=new, attention_mask=mask).logits, expected)
    assert small.config.vocab_size == len(KEPT) == small.get_input_embeddings().num_embeddings
    assert small.config.pad_token_id == 1 and small.num_parameters() < whole.num_parameters()
    small.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        assert torch.equal(loaded(input_ids=new, attention_mask=mask).logits, expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_masked_language_model_predicts_the_columns_of_the_tokens_that_are_left(family, tmp_path):
    torch.manual_seed(0)
    more = {} if family == "modernbert" else {"pad_token_id": 1}
    whole = decided(AutoModelForMaskedLM.from_config(tiny_config(family, **more))).eval()
    for parameter in whole.parameters():
        if parameter.shape == (99,):
            torch.nn.init.normal_(parameter)
    small = copy.deepcopy(whole)
    cut_tables(small, KEPT)
    new, old, mask = inputs()
    with torch.no_grad():
        expected = whole(input_ids=old, attention_mask=mask).logits[..., KEPT]
        found = small(input_ids=new, attention_mask=mask).logits
        small.save_pretrained(tmp_path)
        loaded = AutoModelForMaskedLM.from_pretrained(tmp_path).eval()(input_ids=new, attention_mask=mask).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(loaded, expected, atol=1e-5, rtol=1e-5)


def test_ids_in_the_config_follow_and_those_of_tokens_that_are_gone_are_none():
    model = tiny_classifier("roberta", bos_token_id=0, eos_token_id=7, pad_token_id=1)
    model.config.sep_token_id = 50
    cut_tables(model, KEPT)
    assert (model.config.bos_token_id, model.config.eos_token_id, model.config.sep_token_id) == (0, 4, None)


@pytest.mark.parametrize("frozen", [True, False])
def test_embeddings_that_are_frozen_stay_so(frozen):
    model = tiny_classifier("bert")
    model.get_input_embeddings().weight.requires_grad_(not frozen)
    cut_tables(model, KEPT)
    assert model.get_input_embeddings().weight.requires_grad is not frozen


def test_a_token_beyond_the_table_is_told():
    with pytest.raises(UserError, match="has 99 token ids, but its tokenizer has the id 120"):
        cut_tables(tiny_classifier("bert"), [*KEPT, 120])
