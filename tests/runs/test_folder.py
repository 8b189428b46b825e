import pytest
from support.composing import compose

from kdfeatures.config.schema import plain_config
from kdfeatures.errors import UserError
from kdfeatures.runs.folder import drop_checkpoints, finished_results, is_finished, open_output
from kdfeatures.runs.results import write_results
from kdfeatures.runs.stage_configs import merged


def checkpoint(folder, step):
    made = folder / f"checkpoint-{step}"
    made.mkdir(parents=True)
    (made / "model.safetensors").touch()
    (made / "trainer_state.json").write_text("{}")
    return made


@pytest.mark.parametrize("existing", ["refuse", "resume", "overwrite"])
def test_a_new_folder_is_made_with_its_parents(tmp_path, existing):
    folder = tmp_path / "a" / "b"
    assert open_output(folder, existing) is None
    assert folder.is_dir()


def test_a_folder_with_other_files_is_no_run(tmp_path):
    (tmp_path / "notes.txt").touch()
    (tmp_path / ".hydra").mkdir()
    assert open_output(tmp_path, "refuse") is None


@pytest.mark.parametrize("name", ["results.json", "model.safetensors"])
def test_a_folder_that_holds_a_run_is_refused_with_the_way_out(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(UserError) as caught:
        open_output(tmp_path, "refuse")
    told = str(caught.value)
    assert told.startswith(f"output_dir={tmp_path} already holds a run ({name})") and "\n" not in told
    assert "existing=resume" in told and "existing=overwrite" in told


def test_a_folder_with_a_checkpoint_is_refused(tmp_path):
    checkpoint(tmp_path, 10)
    with pytest.raises(UserError, match="already holds a run .checkpoint-10."):
        open_output(tmp_path, "refuse")


def test_resume_goes_on_from_the_last_checkpoint_by_number(tmp_path):
    for step in (5, 20, 100):
        checkpoint(tmp_path, step)
    assert open_output(tmp_path, "resume") == str(tmp_path / "checkpoint-100")


@pytest.mark.parametrize("state", [None, "", '{"epoch": 1.'])
def test_a_checkpoint_that_a_kill_left_half_is_passed_over(tmp_path, state):
    checkpoint(tmp_path, 20)
    file = checkpoint(tmp_path, 100) / "trainer_state.json"
    file.unlink() if state is None else file.write_text(state)
    assert open_output(tmp_path, "resume") == str(tmp_path / "checkpoint-20")


def test_checkpoints_of_a_finished_run_and_of_its_stages_are_dropped(tmp_path):
    for folder in (tmp_path, tmp_path / "stages" / "1-few"):
        checkpoint(folder, 5)
        (folder / "model.safetensors").touch()
    drop_checkpoints(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "1-few",
        "model.safetensors",
        "model.safetensors",
        "stages",
    ]


def test_resume_without_checkpoint_starts_anew(tmp_path):
    (tmp_path / "model.safetensors").touch()
    assert open_output(tmp_path, "resume") is None


def test_overwrite_clears_the_run_and_nothing_else(tmp_path):
    made = ["results.json", "model.safetensors", "projections.safetensors", "trainer_state.json"]
    for name in (*made, "notes.txt"):
        (tmp_path / name).touch()
    checkpoint(tmp_path, 5)
    (tmp_path / "teacher").mkdir()
    assert open_output(tmp_path, "overwrite") is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "teacher"]


def test_another_word_is_refused_with_the_choices(tmp_path):
    with pytest.raises(
        UserError, match="existing=resum is unknown; did you mean 'resume'.; choose from refuse, resume"
    ):
        open_output(tmp_path / "new", "resum")
    assert not (tmp_path / "new").exists()


def test_a_run_is_finished_when_its_results_are_there(tmp_path):
    (tmp_path / "model.safetensors").touch()
    assert not is_finished(tmp_path)
    (tmp_path / "results.json").touch()
    assert is_finished(tmp_path)


def asked_for(*overrides):
    return plain_config(compose("distill", *overrides), None)


@pytest.fixture
def finished(tmp_path):
    """A function from overrides to what a finished run of task=mrpc is for a call with them."""
    write_results(tmp_path, {"config": asked_for(*GIVEN)})

    def ask(*overrides, folder=tmp_path):
        config = asked_for(*GIVEN, *overrides)
        return finished_results(folder, config["existing"], config)

    return ask


GIVEN = ("task=mrpc", "recipe=logits", "teacher.path=t", "output_dir=one")


def test_a_finished_run_is_taken_up_as_it_is_however_it_is_called(finished, tmp_path):
    assert finished() is None and finished("existing=resume", folder=tmp_path / "other") is None
    of_call = ["output_dir=elsewhere", "push_to_hub=me/it", "trainer.disable_tqdm=true", "trainer.report_to=[wandb]"]
    assert finished("existing=resume", *of_call)["config"]["task"]["name"] == "mrpc"


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("teacher.path=other", "teacher.path=t, but now it is other"),
        ("seed=2", "seed=1, but now it is 2"),
        ("losses.logits.temperature=3", "losses.logits.temperature=2.0, but now it is 3"),
        ("data.labelled=20", "data.labelled=None, but now it is 20"),
        ("~losses.logits", r"losses.logits\._target_=.*LogitKD, but now it is None"),
    ],
)
def test_a_finished_run_is_not_taken_for_another(finished, override, told):
    with pytest.raises(UserError, match=f"holds a finished run with {told}; choose another folder, or existing=overwr"):
        finished("existing=resume", override)


def test_a_teacher_that_a_run_made_for_itself_is_no_difference(tmp_path):
    config = asked_for("task=agreement", "existing=resume", "output_dir=one")
    write_results(tmp_path, {"config": merged(config, {"teacher": {"path": str(tmp_path / "teacher")}})})
    assert finished_results(tmp_path, "resume", config) is not None
    with pytest.raises(UserError, match="now it is another"):
        finished_results(tmp_path, "resume", merged(config, {"teacher": {"path": "another"}}))
