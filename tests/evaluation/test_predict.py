import numpy as np
import pytest
import torch
from support.encoded_rows import LENGTHS, encoded
from support.tiny import tiny_classifier

from kdfeatures.data.synthetic import tokenizer
from kdfeatures.evaluation.predict import predict_logits


def one_by_one(model, dataset):
    model.eval()
    with torch.no_grad():
        return torch.cat([model(input_ids=torch.tensor([ids])).logits for ids in dataset["input_ids"]]).numpy()


def predict(model, dataset, batch_size=3):
    return predict_logits(model, dataset, tokenizer(), batch_size=batch_size, title="test")


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_logits_come_in_the_order_of_the_data_whatever_the_batches(batch_size):
    model, dataset = tiny_classifier(num_labels=3), encoded()
    logits = predict(model, dataset, batch_size)
    assert logits.shape == (len(LENGTHS), 3) and logits.dtype == np.float32
    np.testing.assert_allclose(logits, one_by_one(model, dataset), atol=1e-5)


def test_dropout_is_off_and_the_mode_comes_back():
    model, dataset = tiny_classifier(), encoded()
    model.train()
    first, again = predict(model, dataset), predict(model, dataset)
    np.testing.assert_array_equal(first, again)
    assert model.training
    model.eval()
    predict(model, dataset)
    assert not model.training


def test_the_model_sees_the_inputs_and_nothing_else():
    seen = []
    model = tiny_classifier()
    model.register_forward_pre_hook(lambda module, args, kwargs: seen.append(set(kwargs)), with_kwargs=True)
    predict(model, encoded(labels=[0] * len(LENGTHS), idx=list(range(len(LENGTHS)))))
    assert seen and all(names == {"input_ids", "attention_mask"} for names in seen)


def test_batches_hold_examples_of_like_length():
    widths = []
    model = tiny_classifier()
    model.register_forward_pre_hook(
        lambda module, args, kwargs: widths.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    predict(model, encoded(), batch_size=2)
    assert widths == [12, 9, 5, 3]


def test_half_precision_models_give_float32_and_keep_no_graph():
    model = tiny_classifier().to(torch.bfloat16)
    assert predict(model, encoded()).dtype == np.float32
    assert all(parameter.grad is None for parameter in model.parameters())
