"""What a grid takes, and what it refuses before anything runs."""

import pytest

from kdfeatures.config.compose import key_of
from kdfeatures.errors import UserError


def test_options_of_the_grid_are_its_own_and_all_others_are_shared_by_the_students(settings, tmp_path):
    found = settings("student.layers=2", "seeds=[1,2]", "+loss@losses.extra=hidden_cosine", "recipe=hard", "seed=7",
                     "output_dir=x", "cache=auto", "teacher.root=here", "model.path=bert")  # fmt: skip
    assert found.shared == ("student.layers=2", "+loss@losses.extra=hidden_cosine", "cache=auto")
    assert (found.grid.seeds, str(found.root), found.encoder) == ([1, 2], "here", "bert")
    assert settings().root == tmp_path / "teachers" and settings().encoder is None


def test_per_task_may_name_tasks_of_another_part_of_the_grid(settings):
    own = "+per_task={rte: ['trainer.num_train_epochs=2']}"
    assert "rte" not in settings(own).grid.tasks
    assert settings(own).grid.per_task == {"rte": ["trainer.num_train_epochs=2"]}


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("~losses.attention", "losses.attention"),
        ("+mapping@losses.hidden.mapping=last", "mapping@losses.hidden.mapping"),
        ("student.layers=3", "student.layers"),
    ],
)
def test_an_override_is_known_by_its_key(override, key):
    assert key_of(override) == key


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["tasks=[mrcp]"], "unknown task 'mrcp'; did you mean 'mrpc'?"),
        (["recipes=[tinbert]"], "unknown recipe 'tinbert'; did you mean 'tinybert'"),
        (
            ["controls=[harf]"],
            r"unknown control 'harf'; did you mean 'hard'\?; choose from hard, pseudo, logits, permuted\.",
        ),
        (["seeds=[1,1]"], r"seeds=\[1, 1\] must name one or more, each once"),
        (["tasks=[]"], r"tasks=\[\] must name one or more"),
        (["seeds=[1,x]"], r"^seeds\[1\]: Value 'x'"),
        (["learning_rates=[0.0]"], r"learning_rates=\[0.0\] must be above 0"),
        (["+per_task.mrcp=[]"], "per_task: unknown task 'mrcp'; did you mean 'mrpc'?"),
        (["held_out=1"], "held_out=1.0 must be above 0 and below 1"),
        (["trainer.learning_rate=1e-4"], r"write learning_rates=\[1e-4\]"),
        (["teacher.path=there"], "teacher.path=there: each task has a teacher of its own; give teacher.root"),
        (["+arms.hard=['recipe=logits']"], "arms.hard: the grid has its own hard; choose another name"),
        (
            ["+arms.far=['trainer.learning_rate=1e-3']"],
            r"arms.far: trainer.learning_rate=1e-3: write learning_rates=\[1e-3\]",
        ),
        (["+per_task.agreement=['seed=3']"], "per_task.agreement: seed=3: the grid itself says seed; leave it out"),
        (["experiment=four_by_256"], r"has trainer.learning_rate=0.0005, which learning_rates=.* leave out"),
        (["push_to_hub=me/it"], "push_to_hub=me/it: a grid has many students"),
    ],
)
def test_what_cannot_be_is_refused_by_name(settings, overrides, message):
    with pytest.raises(UserError, match=message):
        settings(*overrides)
