"""A run's last evaluation has the answers that its model would give once more, to the last bit, or is not used."""

import pytest
from support.kind_runs import FACTS, KindRuns
from support.trained_answers import asked_again

__all__ = ["asked_again"]


@pytest.mark.parametrize("kind", FACTS)
def test_every_kind_of_task_takes_its_last_evaluation(tmp_path, kind, asked_again):
    runs, short = KindRuns.make(tmp_path, kind), ["trainer.num_train_epochs=1", "trainer.per_device_eval_batch_size=7"]
    if kind == "embedding":
        runs.distil("model", "recipe=embedding", *short, teacher="encoder")
    else:
        runs.finetune("model", *short)
    assert asked_again == [["validation"]]


@pytest.mark.parametrize(
    ("overrides", "taken"),
    [
        (["recipe=hidden_joint", "trainer.num_train_epochs=0.5"], ["validation"]),
        (["recipe=hidden_joint", "cache=auto"], ["validation"]),
        (["recipe=hard", "split=test"], []),
        (["recipe=hard", "trainer.eval_strategy=no"], []),
        (["recipe=hard", "trainer.bf16=true"], []),
    ],
)
def test_a_student_is_asked_again_where_its_last_evaluation_was_of_something_else(
    workspace, asked_again, tmp_path, overrides, taken
):
    workspace.distil(str(tmp_path), "student.layers=2", *overrides)
    assert asked_again == [taken]


@pytest.mark.parametrize("best", ["last", "first"])
def test_the_best_checkpoint_takes_its_own_evaluation_or_none(workspace, asked_again, tmp_path, best):
    rate = {"last": "2e-4", "first": "0"}[best]  # what learns nothing is best at first
    of_best = ["trainer.load_best_model_at_end=true", "trainer.num_train_epochs=3", f"trainer.learning_rate={rate}"]
    workspace.distil(str(tmp_path), "recipe=hard", "student.layers=2", *of_best)
    assert asked_again == [["validation"] if best == "last" else []]
