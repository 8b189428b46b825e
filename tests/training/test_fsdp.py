import json
from types import SimpleNamespace

import pytest
import torch
from support.launching import in_two_processes
from support.shared_data import glue_task
from support.tiny import tiny_batch, tiny_config

from kdfeatures.tasks.registry import task_type
from kdfeatures.training.fsdp import whole

TEXT = glue_task("text")


def trainer(folder, *, sharded):
    return SimpleNamespace(is_fsdp_enabled=sharded, args=SimpleNamespace(output_dir=folder, device="cpu"))


@pytest.mark.parametrize(
    "task",
    [glue_task("rte"), glue_task("ud_ewt"), TEXT, TEXT.without_outputs],
    ids=lambda task: task_type(task).pipeline,
)
def test_of_a_sharded_student_the_saved_one_is_whole_with_the_head_of_its_task(tmp_path, task):
    student = task_type(task).auto.from_config(tiny_config("bert", num_labels=max(len(task.labels), 1))).eval()
    student.save_pretrained(tmp_path)
    made = whole(None, trainer(tmp_path, sharded=True), task).eval()
    assert type(made) is type(student)
    batch = tiny_batch()
    with torch.no_grad():
        torch.testing.assert_close(made(**batch)[0], student(**batch)[0])


def test_a_student_that_is_not_sharded_is_whole_itself(tmp_path):
    student = object()
    assert whole(student, trainer(tmp_path, sharded=False), TEXT) is student


@pytest.mark.slow
def test_a_sharded_teacher_teaches_what_a_whole_one_does(tmp_path):
    in_two_processes("sharded_teachers.py", tmp_path)
    steps = json.loads((tmp_path / "steps.json").read_text())
    assert len(steps) == 16
    for name, step in steps.items():
        whole, sharded = step["losses"]
        assert sharded == pytest.approx(whole, rel=1e-5), name
        assert step["difference"] < 1e-5 * step["norm"], name
        assert 0.45 < step["kept"] < 0.6, name
