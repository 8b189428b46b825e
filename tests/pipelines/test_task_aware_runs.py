"""Whole runs with filters that learn the task first: what is trained, saved and refused."""

import pytest
import torch
from safetensors.torch import load_file
from support.composing import compose

from kdfeatures.config.load import distill_settings
from kdfeatures.errors import UserError
from kdfeatures.pipelines.plan import plan_stages

SHORT = ["trainer.max_steps=3", "student.layers=2"]


def filters(folder):
    return load_file(folder / "projections.safetensors")


def test_a_ted_run_learns_filters_trains_the_students_and_keeps_the_teachers(workspace, capsys):
    frozen = ["trainer.learning_rate=0", "trainer.weight_decay=0"]
    workspace.distil("ted_still", "recipe=ted", *SHORT, *frozen)
    assert "Task-aware filters have learned the task, loss student" in capsys.readouterr().out
    workspace.distil("ted", "recipe=ted", *SHORT)
    still, trained = filters(workspace.folder / "ted_still"), filters(workspace.folder / "ted")
    assert bool(still.pop("fitted")) and bool(trained.pop("fitted"))
    assert set(still) == {f"{side}.{layer}.{part}" for side, layers in (("student", (1, 2)), ("teacher", (2, 4)))
                          for layer in layers for part in ("weight", "bias")}  # fmt: skip
    same = {name for name in still if torch.equal(still[name], trained[name])}
    assert same == {name for name in still if name.startswith("teacher.")}


def test_the_cached_teacher_gives_the_same_student(workspace, tmp_path):
    workspace.distil("ted_live", "recipe=ted", *SHORT)
    workspace.distil("ted_cached", "recipe=ted", *SHORT, "cache=auto", f"cache.path={tmp_path}", "cache.dtype=float32")
    live, cached = (load_file(workspace.folder / name / "model.safetensors") for name in ("ted_live", "ted_cached"))
    for name in live:
        torch.testing.assert_close(live[name], cached[name], atol=1e-5, rtol=1e-4)


def test_filters_of_the_first_stage_are_those_of_the_next(workspace, capsys):
    still = "trainer: {learning_rate: 0.0, weight_decay: 0.0}"
    stages = f"+stages={{first: {{{still}}}, second: {{{still}}}}}"
    workspace.distil("ted_stages", "recipe=ted", *SHORT, stages)
    assert capsys.readouterr().out.count("Task-aware filters have learned the task") == 1
    one, other = (filters(workspace.folder / "ted_stages" / "stages" / name) for name in ("1-first", "2-second"))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("kind", ["tokens", "question", "embedding", "text"])
def test_tasks_without_a_label_a_text_are_refused_before_anything_is_loaded(kind, workspace, tmp_path):
    task = {"tokens": "ud_ewt", "question": "squad", "embedding": "stsb_embedding", "text": "text"}[kind]
    recipe = {"embedding": "embedding", "text": "tinybert_general"}.get(kind, "ted")
    terms = {"embedding": ["+loss@losses.more=hidden_mse"], "text": ["~losses.attention"]}.get(kind, [])
    narrow = ["student.hidden_size=16", "student.heads=2", "student.init=random"]
    given = [f"task={task}", f"recipe={recipe}", *terms, "projection=task_aware", f"teacher.path={workspace.teacher}"]
    cfg = compose("distill", *given, *narrow)
    with pytest.raises(UserError, match=rf"projection=task_aware learns its filters.*of kind (plain_)?{kind} has not"):
        plan_stages(distill_settings(cfg, tmp_path), tmp_path)
