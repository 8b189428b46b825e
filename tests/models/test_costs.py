import pytest
import torch
from support.encoded_rows import encoded
from support.tiny import tiny_classifier
from torch import nn
from transformers.modeling_outputs import SequenceClassifierOutput

from kdfeatures.data.synthetic import tokenizer
from kdfeatures.errors import UserError
from kdfeatures.models.costs import BATCH, costs, latency_and_throughput

LAYERS, WIDTH = 3, 24


def by_hand(length, classes=2):
    """The matrix products of a BERT classifier, two operations for each multiplication."""
    inner = 2 * WIDTH
    layer = 4 * length * WIDTH**2 + 2 * length * WIDTH * inner + 2 * length**2 * WIDTH
    return 2 * (LAYERS * layer + WIDTH**2 + WIDTH * classes)


@pytest.mark.parametrize("length", [1, 16, 128])
def test_operations_are_those_of_the_formula_with_attention(length):
    found = costs(tiny_classifier(layers=LAYERS, width=WIDTH), length=length)
    assert (found.flops, found.length) == (by_hand(length), length)


def test_fused_and_plain_attention_cost_the_same_operations():
    fused, plain = tiny_classifier(), tiny_classifier()
    plain.set_attn_implementation("eager")
    assert (fused.config._attn_implementation, plain.config._attn_implementation) == ("sdpa", "eager")
    assert costs(fused, length=9).flops == costs(plain, length=9).flops


def test_embeddings_are_the_tables_of_words_positions_and_types():
    model = tiny_classifier()
    config = model.config
    tables = (config.vocab_size + config.max_position_embeddings + config.type_vocab_size) * config.hidden_size
    found = costs(model, length=4)
    assert found.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert found.parameters - found.without_embeddings == tables


def test_the_model_keeps_its_mode():
    model = tiny_classifier().train()
    costs(model, length=4)
    assert model.training and all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("length", [0, 33])
def test_a_length_that_the_model_cannot_place_is_refused(length):
    with pytest.raises(UserError, match=f"length={length} must lie between 1 and the model's 32 positions"):
        costs(tiny_classifier(max_position_embeddings=32), length=length)


class Seen(nn.Module):
    """Takes what it is given for a batch, and remembers it."""

    device = torch.device("cpu")

    def __init__(self):
        super().__init__()
        self.batches = []

    def forward(self, **batch):
        assert set(batch) == {"input_ids", "attention_mask"} and not self.training
        self.batches.append(batch["input_ids"])
        return SequenceClassifierOutput(logits=torch.ones(len(batch["input_ids"]), 2))


def test_all_models_see_the_same_batches_and_the_first_is_the_reference():
    models = {"teacher": Seen(), "student": Seen().train()}
    dataset = encoded(labels=[0] * 7)
    found = latency_and_throughput(models, dataset, tokenizer())
    first, second = (model.batches for model in models.values())
    assert len(first) == len(second) and all(torch.equal(*pair) for pair in zip(first, second, strict=True))
    assert {len(batch) for batch in first} == {1, BATCH}
    widths = {batch.shape[1] for batch in first if len(batch) == 1}
    assert widths == {len(row) for row in dataset["input_ids"]}  # single texts are not padded, and all lengths come
    assert list(found) == list(models)
    teacher = found["teacher"]
    assert set(teacher.latency_ratio) == set(teacher.throughput_ratio) == {1.0}
    for speed in found.values():
        assert 0 < speed.latency.low <= speed.latency.median <= speed.latency.high
        assert 0 < speed.throughput.low <= speed.throughput.median <= speed.throughput.high
