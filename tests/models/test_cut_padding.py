import pytest
import torch
from support.tiny import tiny_config
from transformers import AutoModelForMaskedLM

from kdfeatures.data.synthetic import tokenizer
from kdfeatures.models.limits import cut_padding

SIZE = len(tokenizer())


def masked_model(family, vocabulary):
    torch.manual_seed(0)
    config = tiny_config(family)
    config.vocab_size = vocabulary
    return AutoModelForMaskedLM.from_config(config).eval()


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "electra", "mpnet"])
def test_models_padded_to_different_sizes_answer_for_the_same_tokens_as_before(family):
    models = [masked_model(family, SIZE + 8), masked_model(family, SIZE)]
    ids = torch.tensor([[5, 6, 7, 8]])
    before = [model(ids).logits[..., :SIZE] for model in models]
    cut_padding(models, tokenizer())
    for model, logits in zip(models, before, strict=True):
        assert model.config.vocab_size == SIZE
        torch.testing.assert_close(model(ids).logits, logits)


def test_models_that_agree_keep_their_padding():
    models = [masked_model("bert", SIZE + 8), masked_model("bert", SIZE + 8)]
    cut_padding(models, tokenizer())
    assert [model.config.vocab_size for model in models] == [SIZE + 8] * 2
