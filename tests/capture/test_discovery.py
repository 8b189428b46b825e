import copy
import warnings

import pytest
import torch
from support.attachments import attached
from support.tiny import decided, tiny_batch, tiny_classifier, tiny_config
from torch import nn
from transformers import AutoModel

from kdfeatures.capture.context import capture
from kdfeatures.capture.families import FAMILIES, encoder_of
from kdfeatures.errors import UserError


@pytest.mark.parametrize("model_type", ["xlm-roberta-xl", "layoutlm", "splinter"])
def test_a_model_without_a_row_is_captured_with_a_warning_that_says_what_was_found(model_type):
    assert model_type not in FAMILIES
    model, batch = decided(AutoModel.from_config(tiny_config(model_type)).eval()), tiny_batch()
    eager = copy.deepcopy(model)
    eager.set_attn_implementation("eager")
    with pytest.warns(
        UserWarning, match=f"'{model_type}'.* it found 3 x .*Layer at encoder.layer with .*attention.self"
    ):
        with capture(model, hidden=[0, 2], attention=[1, 3]) as features:
            model(**batch)
    expected, real = eager(**batch, output_hidden_states=True, output_attentions=True), batch["attention_mask"].bool()
    for n in (0, 2):
        torch.testing.assert_close(features.hidden[n][real], expected.hidden_states[n][real], atol=1e-5, rtol=0)
    for n in (1, 3):
        found, wanted = (x.transpose(1, 2)[real] for x in (features.attention_probs(n), expected.attentions[n - 1]))
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_a_family_of_the_table_is_not_warned_about():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder_of(tiny_classifier())


def test_a_mistyped_model_type_gets_the_nearest_row_with_the_warning():
    model = tiny_classifier()
    model.config.model_type = "berd"
    with pytest.warns(UserWarning, match="'berd'; did you mean 'bert'"), capture(model, hidden=[1]):
        pass


@pytest.mark.parametrize("model_type", ["fnet", "ibert"])
def test_a_model_in_which_no_attention_dispatches_is_refused_with_the_way_to_add_a_row(model_type):
    model = AutoModel.from_config(tiny_config(model_type))
    with pytest.raises(UserError, match=f"'{model_type}'.* found none; add a row to FAMILIES in kdfeatures"):
        encoder_of(model)
    assert attached(model) == 0


def test_two_candidates_are_both_named():
    model = tiny_classifier()
    model.config.model_type = "twice"
    model.base_model.second = nn.ModuleList(copy.deepcopy(list(model.base_model.encoder.layer)))
    with pytest.raises(UserError, match="found encoder.layer > attention.self, second > attention.self; add a row"):
        encoder_of(model)


def test_a_decoder_without_a_row_is_refused():
    model = AutoModel.from_config(tiny_config("gpt2"))
    with pytest.raises(UserError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        encoder_of(model)
