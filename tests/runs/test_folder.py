import pytest
from support.composing import compose

from kdfeatures.checksums import seal
from kdfeatures.config.schema import plain_config
from kdfeatures.errors import UserError
from kdfeatures.runs.folder import begin_run, drop_checkpoints, finished_results, is_finished
from kdfeatures.runs.folder import open_output as open_for
from kdfeatures.runs.manifest import REPLACED, read_manifest
from kdfeatures.runs.results import read_results, write_results
from kdfeatures.runs.stage_configs import merged


def checkpoint(folder, step):
    made = folder / f"checkpoint-{step}"
    made.mkdir(parents=True)
    (made / "model.safetensors").touch()
    (made / "trainer_state.json").write_text("{}")
    seal(made)
    return made


NO_READS: dict = {"seed": 1}


def open_output(folder, existing, config=NO_READS):
    return open_for(folder, existing, config)


def begun(folder, existing="refuse", config=NO_READS):
    """Open a folder and begin a run there, as a run does once all is checked."""
    checkpoint = open_output(folder, existing, config)
    begin_run(folder, existing, config)
    return checkpoint


def names(folder):
    return sorted(path.name for path in folder.iterdir())


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


MADE = ["logits.npz", "model.safetensors", "projections.safetensors", "trainer_state.json"]


def finish(folder, config=NO_READS):
    """What a run leaves: its files, a checkpoint, a stage, and at last its results."""
    for name in MADE:
        (folder / name).write_text(f"of seed {config['seed']}")
    checkpoint(folder, 5)
    (folder / "stages" / "1-layers").mkdir(parents=True)
    write_results(folder, {"config": config})


@pytest.fixture
def finished_run(tmp_path):
    """A finished run of seed 1, in a folder where the user has files, from before it and after it."""
    folder = tmp_path / "run"
    (folder / "teacher").mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")
    (folder / "config.json").write_text("mine, from before the run")
    begun(folder)
    finish(folder)
    (folder / "later.txt").write_text("mine too")
    return folder


OF_USER = {"notes.txt", "later.txt", "teacher", "config.json"}


def test_nothing_is_removed_before_all_is_checked(finished_run):
    before = names(finished_run)
    assert open_output(finished_run, "overwrite", {"seed": 2}) is None
    assert names(finished_run) == before


def test_what_is_overwritten_stays_whole_until_its_successor_is(finished_run):
    begun(finished_run, "overwrite", {"seed": 2})
    assert set(names(finished_run)) == {REPLACED, "run.json"} | OF_USER
    old = finished_run / REPLACED
    assert read_results(old)["config"] == {"seed": 1}
    assert (old / "model.safetensors").read_text() == "of seed 1" and (old / "stages" / "1-layers").is_dir()
    finish(finished_run, {"seed": 2})
    assert not old.exists() and read_results(finished_run)["config"] == {"seed": 2}
    assert set(names(finished_run)) == {"run.json", "results.json", "checkpoint-5", "stages", *MADE} | OF_USER
    assert (finished_run / "config.json").read_text() == "mine, from before the run"


def test_a_run_that_broke_off_while_it_replaced_another_can_be_resumed_or_replaced_itself(finished_run):
    begun(finished_run, "overwrite", {"seed": 2})
    checkpoint(finished_run, 7)
    (finished_run / "model.safetensors").write_text("half")
    assert open_output(finished_run, "resume", {"seed": 2}) == str(finished_run / "checkpoint-7")
    with pytest.raises(UserError, match="already holds a run"):
        open_output(finished_run, "refuse")
    begun(finished_run, "overwrite", {"seed": 3})
    assert set(names(finished_run)) == {REPLACED, "run.json"} | OF_USER
    assert read_results(finished_run / REPLACED)["config"] == {"seed": 1}  # the last that was whole


def test_an_unfinished_run_is_replaced_too(tmp_path):
    begun(tmp_path)
    checkpoint(tmp_path, 5)
    assert begun(tmp_path, "overwrite", {"seed": 2}) is None
    assert read_manifest(tmp_path)["config"] == {"seed": 2} and not (tmp_path / "checkpoint-5").exists()


def test_a_run_of_before_the_manifest_is_known_by_its_results(tmp_path):
    finish(tmp_path)
    (tmp_path / "notes.txt").touch()
    begun(tmp_path, "overwrite", {"seed": 2})
    assert names(tmp_path) == [REPLACED, "notes.txt", "run.json"]


@pytest.mark.parametrize("name", ["model.safetensors", "checkpoint-5", "stages"])
def test_what_no_run_of_this_program_made_is_not_overwritten(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=f"holds {name}, which no run of kdfeatures says it made, so it is not overwr"):
        open_output(tmp_path, "overwrite")
    assert names(tmp_path) == [name]


@pytest.mark.parametrize("existing", ["refuse", "resume", "overwrite"])
@pytest.mark.parametrize("option", ["model.path", "teacher.path", "student.path", "teachers.b.path", "teacher.outputs"])
def test_a_run_is_not_written_over_what_it_reads(finished_run, existing, option):
    *sections, name = option.split(".")
    config = {name: str(finished_run)}
    for section in reversed(sections):
        config = {section: config}
    before = names(finished_run)
    with pytest.raises(UserError) as caught:
        open_output(finished_run, existing, config | {"seed": 1})
    assert f"{option}={finished_run} is the folder output_dir={finished_run} that the run would write to" in str(
        caught.value
    )
    assert names(finished_run) == before


@pytest.mark.parametrize("part", ["checkpoint-5", "stages/1-layers"])
def test_what_is_read_is_not_replaced(finished_run, part):
    config = {"seed": 2, "model": {"path": str(finished_run / part)}}
    with pytest.raises(UserError, match="is part of what existing=overwrite would replace in output_dir="):
        open_output(finished_run, "overwrite", config)
    begun(finished_run, "overwrite", {"seed": 2, "teacher": {"path": str(finished_run / "teacher")}})


def test_another_word_is_refused_with_the_choices(tmp_path):
    with pytest.raises(
        UserError, match="existing=resum is unknown; did you mean 'resume'.; choose from refuse, resume"
    ):
        open_output(tmp_path / "new", "resum")
    assert not (tmp_path / "new").exists()


def test_a_run_is_finished_when_its_results_are_there(tmp_path):
    (tmp_path / "model.safetensors").touch()
    assert not is_finished(tmp_path)
    (tmp_path / "results.json").write_text("{}")
    assert is_finished(tmp_path)
    (tmp_path / "results.json").write_text("{")  # of no use to anybody
    assert not is_finished(tmp_path)


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


@pytest.mark.parametrize("override", ["seed=2", "trainer.learning_rate=1", "teacher.path=other", "student.layers=1"])
def test_an_unfinished_run_is_not_resumed_as_another(tmp_path, override):
    begun(tmp_path, "refuse", asked_for(*GIVEN))
    checkpoint(tmp_path, 5)
    same = asked_for(*GIVEN, "trainer.disable_tqdm=true", "existing=resume", "output_dir=elsewhere")
    assert open_output(tmp_path, "resume", same) == str(tmp_path / "checkpoint-5")
    option = override.partition("=")[0]
    with pytest.raises(
        UserError, match=f"holds an unfinished run with {option}=.*; choose another folder, or existing="
    ):
        open_output(tmp_path, "resume", asked_for(*GIVEN, override, "existing=resume"))


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
