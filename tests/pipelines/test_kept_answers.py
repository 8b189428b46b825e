"""What a teacher has answered on the scored splits in one run is read by the next ones."""

import pytest

from kdfeatures.tasks.kinds.sequence import SequenceTask


@pytest.fixture
def scored(monkeypatch, tmp_path):
    """Whose answers are asked for: the teacher has 4 layers."""
    monkeypatch.setenv("KDFEATURES_CACHE", str(tmp_path))
    layers, plain = [], SequenceTask.predict
    monkeypatch.setattr(
        SequenceTask,
        "predict",
        lambda self, model, *more, **options: (
            layers.append(model.config.num_hidden_layers) or plain(self, model, *more, **options)
        ),
    )
    return layers


def test_a_further_run_scores_the_student_alone_and_has_the_same_teacher(workspace, scored, capsys):
    short = ["student.layers=2", "trainer.max_steps=1", "trainer.eval_strategy=no"]
    first = workspace.distil("asked", "recipe=logits", *short)
    assert scored == [4, 2] and "kept since" not in capsys.readouterr().out
    further = workspace.distil("asked_again", "recipe=hard", "seed=2", *short)
    assert scored == [4, 2, 2]
    assert "Answers of the teacher on validation: kept since an earlier run in" in capsys.readouterr().out
    assert further["teacher"]["metrics"] == first["teacher"]["metrics"]
    rounded = workspace.distil("asked_in_bfloat16", "recipe=logits", "teacher.dtype=bfloat16", *short)
    assert scored == [4, 2, 2, 4, 2] and rounded["teacher"]["metrics"].keys() == first["teacher"]["metrics"].keys()
    shuffled = [
        f"+teachers.other={{path: {workspace.teacher}, weight: 0, shuffled: true}}",
        "losses.hidden.teacher=other",
    ]
    workspace.distil("asked_a_shuffled_one", "recipe=hidden_joint", *shuffled, *short)
    assert scored == [4, 2, 2, 4, 2, 4, 2]  # the shuffled one has other weights
