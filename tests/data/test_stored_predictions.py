import dataclasses

import numpy as np
import pytest
import torch
from datasets import Dataset
from support.shared_data import glue_task
from torch import nn

from kdfeatures.data.load import load_task
from kdfeatures.data.predictions_file import write_answers
from kdfeatures.data.stored_predictions import StoredOutputs, ids_of
from kdfeatures.distillation.bound import BoundObjective
from kdfeatures.distillation.teacher_outputs import restore
from kdfeatures.distillation.term import BoundTerm
from kdfeatures.errors import UserError
from kdfeatures.losses import (
    DecoupledKD,
    HardLabel,
    JensenShannon,
    LogitKD,
    LogitMSE,
    PseudoLabel,
    ReverseKL,
    SkewKL,
    SoftCrossEntropy,
)

RTE = glue_task("rte")


@pytest.fixture
def stored(tmp_path):
    for split, ids in {"train": "abc", "validation": "ba"}.items():
        logits = np.arange(2 * len(ids)).reshape(-1, 2) + 10 * len(ids)
        write_answers(tmp_path / f"{split}.parquet", ids, logits, RTE)
    return StoredOutputs.read(str(tmp_path), RTE, "name")


def test_zero_padded_ids_of_a_csv_find_their_answers_in_another(tmp_path):
    task = dataclasses.replace(RTE, dataset=None, config=None, files={"train": "train.csv"}, splits={"train": "train"})
    (tmp_path / "train.csv").write_text("guid,sentence1,sentence2,label\n007,a,b,0\n07,c,d,1\n", encoding="utf-8")
    header = "split,label,id,logits.entailment,logits.not_entailment"
    (tmp_path / "answers.csv").write_text(f"{header}\ntrain,,07,1,2.5\ntrain,,007,3,4\n", encoding="utf-8")
    answers = StoredOutputs.read(str(tmp_path / "answers.csv"), task, "guid")
    train = load_task(task, str(tmp_path), ids=["guid"])["train"]
    assert answers.logits_for(train, "train").tolist() == [[3, 4], [1, 2.5]]


def data(**columns):
    return Dataset.from_dict(columns)


def test_an_example_gets_the_answer_of_its_id_in_its_split(stored):
    assert stored.logits_for(data(name=["c", "a"]), "train").tolist() == [[34, 35], [30, 31]]
    assert stored.logits_for(data(name=["a", "b"]), "validation").tolist() == [[22, 23], [20, 21]]


def test_a_batch_is_what_cached_features_give_and_holds_logits_alone(stored):
    rows = stored.rows_of(["b", "b", "c"], "train").tolist()
    outputs = restore(stored.batch(rows, torch.ones(3, 5)), [0, 1])
    assert outputs.logits.tolist() == [[32, 33], [32, 33], [34, 35]]
    assert not outputs.features.hidden and not outputs.features.attention


def test_missing_answers_are_counted_and_the_first_are_named(stored):
    with pytest.raises(UserError) as caught:
        stored.rows_of(list("axbyzw"), "train")
    told = str(caught.value)
    assert "lacks 4 of the 6 examples of the split 'train' (ids x, y, z, ...)" in told and "teacher.id_column" in told
    with pytest.raises(UserError, match="lacks 1 of the 1 examples of the split 'test'"):
        stored.rows_of(["a"], "test")


def test_ids_are_the_column_asked_for_or_idx_or_the_row_numbers():
    assert ids_of(data(idx=[5, 3], name=["a", "b"]), None, "train") == ["5", "3"]
    assert ids_of(data(idx=[5, 3], name=["a", "b"]), "name", "train") == ["a", "b"]
    assert ids_of(data(name=["a", "b"]), None, "train") == ["0", "1"]
    with pytest.raises(UserError, match="teacher.id_column=guid is no column of the split 'train', which has name"):
        ids_of(data(name=["a"]), "guid", "train")


CERTAIN = [
    LogitKD(temperature=4.0),
    SoftCrossEntropy(temperature=1.0),
    ReverseKL(temperature=1.0),
    JensenShannon(temperature=1.0, beta=0.5),
    SkewKL(temperature=1.0, skew=0.1),
    DecoupledKD(temperature=4.0, target_weight=1.0, other_weight=8.0),
    PseudoLabel(),
]


@pytest.mark.parametrize("loss", CERTAIN, ids=lambda loss: type(loss).__name__)
def test_labels_that_are_certain_give_every_loss_on_classes_a_finite_gradient(tmp_path, loss):
    Dataset.from_dict({"id": [0, 1], "label": RTE.labels}).to_csv(tmp_path / "f.csv")
    teacher = StoredOutputs.read(str(tmp_path / "f.csv"), RTE, None).batch([0, 1], torch.ones(2, 1))["logits"]
    student = torch.tensor([[1.0, 0.0], [2.0, 0.5]], requires_grad=True)
    labels = [torch.tensor([0, 1])] if loss.inputs == "logits, labels" else []
    loss(student, teacher, *labels).backward()
    assert student.grad.isfinite().all() and student.grad.any()


def test_the_soft_cross_entropy_with_certain_labels_is_that_with_hard_ones(tmp_path):
    Dataset.from_dict({"id": [0, 1], "label": [1, 0]}).to_csv(tmp_path / "f.csv")
    teacher = StoredOutputs.read(str(tmp_path / "f.csv"), RTE, None).batch([0, 1], torch.ones(2, 1))["logits"]
    student = torch.tensor([[1.0, 0.0], [2.0, 0.5]])
    expected = HardLabel()(student, torch.tensor([1, 0]))
    torch.testing.assert_close(SoftCrossEntropy(temperature=1.0)(student, teacher), expected)


def test_a_loss_on_raw_logits_is_refused_where_only_their_softmax_is_known(stored):
    raw, soft = (
        BoundObjective({"kd": BoundTerm(loss, 1.0)}, nn.Identity()) for loss in (LogitMSE(), LogitKD(temperature=2.0))
    )
    stored.check(raw)
    softened = StoredOutputs(stored.option, stored.logits, stored.rows, None, softened=True)
    softened.check(soft)
    with pytest.raises(UserError, match="losses.kd compares raw logits, but teacher.outputs=.* has probabilities"):
        softened.check(raw)
