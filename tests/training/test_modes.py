"""In training the student drops units and the teacher does not; cached logits come in the student's label order."""

import torch
from support.small_runs import arguments, bert_config, sequence_data
from torch import nn
from transformers import BertForSequenceClassification

import kdfeatures as kd
from kdfeatures.data.synthetic import tokenizer
from kdfeatures.distillation.teacher_outputs import restore


def watched(model):
    modes = []
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.register_forward_hook(lambda module, inputs, output: modes.append(module.training))
    return modes


def test_dropout_is_on_in_the_student_and_off_in_the_teacher(tmp_path):
    student, teacher = (BertForSequenceClassification(bert_config(layers)) for layers in (2, 4))
    of_student, of_teacher = watched(student), watched(teacher)
    objective = kd.Objective(logits=kd.losses.LogitKD(), hidden=kd.Term(kd.losses.HiddenMSE(), layers="uniform"))
    data = sequence_data()
    kd.DistillationTrainer(
        student, arguments(tmp_path), train_dataset=data, processing_class=tokenizer(), teacher_model=teacher,
        objective=objective,
    ).train()  # fmt: skip
    assert of_student and all(of_student)
    assert of_teacher and not any(of_teacher)


def test_cached_logits_are_put_into_the_students_label_order():
    logits = torch.tensor([[1.0, 2.0, 3.0]])
    cached = {"logits": logits, "hidden": {}, "attention": {}}
    assert restore(cached, [2, 0, 1]).logits.tolist() == [[3.0, 1.0, 2.0]]
    assert restore(cached, None).logits.tolist() == [[1.0, 2.0, 3.0]]
