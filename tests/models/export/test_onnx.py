"""What is written is the model: for every batch, family and kind, and with nothing of this machine in it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from support.encoded_rows import encoded
from support.exporting import operators_once
from support.tiny import decided, tiny_classifier, tiny_config
from transformers import AutoConfig, AutoModelForTokenClassification, AutoTokenizer

from kdfeatures.data.synthetic import tokenizer
from kdfeatures.errors import UserError
from kdfeatures.evaluation.predict import predict_logits
from kdfeatures.models.export import OnnxClassifier, export_onnx, quantise
from kdfeatures.models.export import requirements as packages

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.usefixtures("operators_once")
__all__ = ["operators_once"]


@pytest.fixture(scope="module")
def bert():
    torch.manual_seed(0)
    return decided(tiny_classifier(num_labels=3, layers=2))


@pytest.fixture(scope="module")
def folder(bert, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    quantise(export_onnx(bert, tokenizer(), folder))
    return folder


def padded(size, length, vocabulary=90):
    mask = torch.ones(size, length, dtype=torch.long)
    for row in range(1, size):
        mask[row, max(1, length - 3 * row) :] = 0
    ids = torch.randint(5, vocabulary, (size, length)) * mask
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": mask.cumsum(1) // (length // 2 + 1) * mask}


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1, 3), (1, 1), (8, 8), (5, 100), (33, 17)])
def test_the_file_answers_as_the_model_whatever_batch_length_and_padding(bert, folder, size):
    batch = padded(*size)
    with torch.no_grad():
        wanted = bert(**batch).logits
    torch.testing.assert_close(OnnxClassifier(folder / "model.onnx")(**batch).logits, wanted, atol=1e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_logits_of_a_split_come_in_its_order(bert, folder, batch_size):
    dataset = encoded(token_type_ids=[[0] * length for length in (5, 12, 3, 9, 12, 4, 7)])
    found = OnnxClassifier(folder / "model.onnx").logits(dataset, tokenizer(), batch_size)
    assert found.shape == (7, 3) and found.dtype == np.float32
    np.testing.assert_allclose(
        found, predict_logits(bert, dataset, tokenizer(), batch_size=2, title="torch"), atol=1e-4
    )


@pytest.mark.slow
def test_int8_is_smaller_and_close(bert, folder):
    batch = padded(16, 20)
    with torch.no_grad():
        wanted = bert(**batch).logits
    found = OnnxClassifier(folder / "model-int8.onnx")(**batch).logits
    assert 0 < (found - wanted).abs().mean() < 0.1 * wanted.std()
    assert (folder / "model-int8.onnx").stat().st_size < 0.5 * (folder / "model.onnx").stat().st_size


@pytest.mark.slow
def test_the_folder_can_be_deployed_and_names_no_folder_of_this_machine(folder):
    assert AutoConfig.from_pretrained(folder).num_labels == 3
    assert AutoTokenizer.from_pretrained(folder)("the dog slept") == tokenizer()("the dog slept")
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]
    for name in ("model.onnx", "model-int8.onnx"):
        content = (folder / name).read_bytes()
        assert b'.py"' not in content and str(Path(torch.__file__).parent).encode() not in content


@pytest.mark.slow
@pytest.mark.parametrize("family", ["distilbert", "roberta", "mpnet"])
def test_other_families_export_in_any_mode_and_stay_as_they_are(family, tmp_path):
    model = decided(tiny_classifier(family, layers=1)).train().to(torch.bfloat16)
    file = export_onnx(model, tokenizer(), tmp_path)  # it compares the two
    assert model.training and model.dtype == torch.bfloat16
    assert ("token_type_ids" in OnnxClassifier(file).inputs) == (family == "roberta")
    assert OnnxClassifier(quantise(file))(**padded(2, 9)).logits.shape == (2, 2)


@pytest.mark.slow
def test_token_classifiers_export_with_logits_for_every_token(tmp_path):
    model = decided(AutoModelForTokenClassification.from_config(tiny_config("bert", num_labels=5, layers=1)))
    assert OnnxClassifier(export_onnx(model, tokenizer(), tmp_path))(**padded(3, 11)).logits.shape == (3, 11, 5)


@pytest.mark.slow
def test_a_model_whose_code_cannot_be_traced_is_refused(bert, tmp_path, monkeypatch):
    def forward(self, input_ids, attention_mask):
        return self.classifier(torch.zeros(len(input_ids), 24) + int(input_ids.sum().item()) // 2 * 0)

    monkeypatch.setattr(type(bert), "forward", forward)
    with pytest.raises(UserError, match="cannot export this bert model to ONNX: "):
        export_onnx(bert, tokenizer(), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_batch_that_lacks_an_input_is_refused(folder):
    batch = padded(2, 5)
    del batch["token_type_ids"]
    with pytest.raises(UserError, match="takes token_type_ids, which the batch lacks"):
        OnnxClassifier(folder / "model.onnx")(**batch)


@pytest.mark.parametrize("use", [OnnxClassifier, quantise])
def test_a_missing_file_is_named(tmp_path, use):
    with pytest.raises(UserError, match="nothing.onnx: no such file"):
        use(tmp_path / "nothing.onnx")


def test_missing_packages_are_named_with_the_extra_that_brings_them(bert, tmp_path, monkeypatch):
    monkeypatch.setattr(packages, "find_spec", lambda name: None if name == "onnxruntime" else object())
    for use in (lambda: export_onnx(bert, tokenizer(), tmp_path), lambda: quantise("a"), lambda: OnnxClassifier("a")):
        with pytest.raises(UserError, match=r"needs onnxruntime; pip install kdfeatures\[export\]"):
            use()
