"""CKA of all layers of two models over batches."""

import pytest
import torch
from support.attachments import attached
from support.tiny import decided, tiny_batch, tiny_classifier

from kdfeatures.analysis.compare_layers import compare_layers
from kdfeatures.analysis.hsic import unbiased_hsic
from kdfeatures.capture.context import extract
from kdfeatures.errors import UserError

BATCHES = ((9, 5, 7), (8, 6))


def batches():
    torch.manual_seed(3)
    return [tiny_batch(lengths) for lengths in BATCHES]


def models():
    torch.manual_seed(1)
    return decided(tiny_classifier(layers=2, width=16, heads=2)), decided(tiny_classifier(layers=3))


def test_every_entry_is_the_ratio_of_hsic_averaged_over_batches():
    student, teacher = models()
    texts = batches()
    found = compare_layers(student, teacher, texts)
    assert found.similarity.shape == (3, 4) and found.null.shape == (3, 4)
    for s, t in ((0, 0), (1, 3), (2, 1)):
        sums = torch.zeros(3, dtype=torch.float64)
        for batch in texts:
            real = batch["attention_mask"].bool()
            with torch.no_grad():
                x, y = (
                    extract(model, hidden=[layer], **batch).hidden[layer][real].double()
                    for model, layer in ((student, s), (teacher, t))
                )
            sums += torch.stack([unbiased_hsic(x, y), unbiased_hsic(x, x), unbiased_hsic(y, y)])
        torch.testing.assert_close(found.similarity[s, t], sums[0] / (sums[1] * sums[2]).sqrt(), atol=1e-6, rtol=1e-4)


def test_a_model_is_equal_to_itself_and_less_so_on_other_texts():
    _, teacher = models()
    found = compare_layers(teacher, teacher, batches())
    torch.testing.assert_close(found.similarity.diagonal(), torch.ones(4, dtype=torch.float64))
    assert (found.null.diagonal() < 0.9).all()


def test_padding_changes_nothing():
    student, teacher = models()
    texts = batches()
    longer = [
        {
            name: torch.nn.functional.pad(tensor, (0, 4), value=1 if name == "input_ids" else 0)
            for name, tensor in b.items()
        }
        for b in texts
    ]
    expected, found = (compare_layers(student, teacher, given) for given in (texts, longer))
    torch.testing.assert_close(found.similarity, expected.similarity, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.null, expected.null, atol=1e-5, rtol=1e-4)


def test_the_models_are_left_as_they_were():
    student, teacher = models()
    student.train()
    compare_layers(student, teacher, batches())
    assert student.training and not teacher.training
    assert attached(student) == attached(teacher) == 0


def test_mistakes_are_told():
    student, teacher = models()
    with pytest.raises(UserError, match="no batch was given"):
        compare_layers(student, teacher, [])
    with pytest.raises(UserError, match="one text cannot be shuffled"):
        compare_layers(student, teacher, [tiny_batch((9,))])
    funnel = tiny_classifier("funnel")
    with pytest.raises(UserError, match="Funnel pools them"):
        compare_layers(funnel, funnel, [tiny_batch((8, 8))])
