"""Masked language models without their logits, in every family that has such a head."""

import pytest
import torch
from support.tiny import tiny_batch, tiny_config
from torch import nn
from transformers import AutoModelForMaskedLM, BertForMaskedLM

from kdfeatures.capture.decoder import DecoderTap
from kdfeatures.capture.families import FAMILIES
from kdfeatures.distillation.outputs import predicts_vocabulary

# MobileBERT multiplies by two matrices joined together, and ESM and mT5-like heads have none of these classes
WITHOUT = {"mobilebert"}


def masked_lm(family):
    torch.manual_seed(0)
    return AutoModelForMaskedLM.from_config(tiny_config(family)).eval()


def with_such_a_head():
    for family in FAMILIES:
        try:
            with torch.device("meta"):  # to look at only
                model = masked_lm(family)
        except ValueError:  # AutoModelForMaskedLM does not know it
            continue
        if predicts_vocabulary(model):
            yield family


HEADS = list(with_such_a_head())


@pytest.mark.parametrize("family", [family for family in HEADS if family not in WITHOUT])
@torch.no_grad()
def test_states_and_decoder_give_the_logits_of_the_model(family):
    model, batch = masked_lm(family), tiny_batch()
    expected = model(**batch).logits
    tap = DecoderTap.of(model)
    with tap.holding():
        shortened = model(**batch).logits
    logits = tap.take()
    assert shortened.shape == (1, 1, model.config.vocab_size)
    assert logits.shape == expected.shape
    assert torch.equal(logits.logits(), expected)
    assert torch.equal(model(**batch).logits, expected)


@pytest.mark.parametrize("family", sorted(WITHOUT))
def test_a_head_that_is_no_linear_layer_keeps_its_logits(family):
    model, batch = masked_lm(family), tiny_batch()
    expected = model(**batch).logits
    assert DecoderTap.of(model) is None
    assert torch.equal(model(**batch).logits, expected)


def test_there_are_heads_to_look_at():
    assert len(HEADS) > 15 and set(HEADS) >= WITHOUT


class Capped(BertForMaskedLM):
    def forward(self, **inputs):
        output = super().forward(**inputs)
        output.logits = 30 * torch.tanh(output.logits / 30)
        return output


class Rearranged(BertForMaskedLM):
    def forward(self, input_ids, attention_mask):
        states = self.cls.predictions.transform(self.bert(input_ids, attention_mask).last_hidden_state)
        return {"logits": self.cls.predictions.decoder(states.flatten(0, 1))}


@pytest.mark.parametrize("kind", [Capped, Rearranged])
def test_a_model_that_changes_its_logits_keeps_them(kind):
    model = kind(tiny_config("bert")).eval()
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(100)
    assert DecoderTap.of(model) is None
    assert not model.get_output_embeddings()._forward_pre_hooks


def test_a_decoder_with_adapters_is_left_alone():
    model = masked_lm("bert")

    class Adapter(nn.Linear):
        def forward(self, states):
            return super().forward(states) + 1

    adapted = Adapter(24, model.config.vocab_size)
    model.set_output_embeddings(adapted)
    assert DecoderTap.of(model) is None


def test_looking_at_a_model_leaves_the_random_numbers_as_they_were():
    model = masked_lm("bert").train()
    before = torch.get_rng_state()
    assert DecoderTap.of(model) is not None
    assert torch.equal(torch.get_rng_state(), before)


def test_an_encoder_without_a_head_and_a_module_of_ones_own_have_no_tap():
    assert DecoderTap.of(masked_lm("bert").bert) is None
    assert DecoderTap.of(nn.Linear(2, 3)) is None
