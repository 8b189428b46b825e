import os
import subprocess
import sys

import pytest
from support.calls import checked
from support.shared_data import ROOT
from support.tiny import tiny_classifier
from transformers.utils import logging

from kdfeatures.cli.arguments import written_out
from kdfeatures.cli.help import SUMMARIES
from kdfeatures.cli.main import main
from kdfeatures.data.synthetic import tokenizer
from kdfeatures.errors import UserError

NAMES = {0: "unacceptable", 1: "acceptable"}  # of task=agreement


@pytest.fixture(autouse=True)
def _user(tmp_path, monkeypatch):
    """A user in an empty folder, whose mistakes must come to light before anything is trained."""

    def train(*args):
        raise AssertionError("a run with a mistake in it began to train")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)  # main() sets it for Hydra
    monkeypatch.setattr("kdfeatures.pipelines.finetune.train", train)
    monkeypatch.setattr("kdfeatures.pipelines.distill.train", train)
    logging.disable_progress_bar()
    yield
    logging.enable_progress_bar()


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """An untrained classifier with the names of task=agreement."""
    folder = tmp_path_factory.mktemp("teacher")
    tiny_classifier(layers=4, id2label=NAMES).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def fails(capfd):
    """Return a function that runs a command and returns the one line it says, without the prefix."""

    def run(*argv):
        capfd.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main(list(argv))
        err = capfd.readouterr().err
        assert stopped.value.code == 2
        assert err.startswith("kdfeatures: error: ") and err.count("\n") == 1, err
        return err.removeprefix("kdfeatures: error: ").rstrip("\n")

    return run


def test_an_unknown_command_is_answered_with_the_nearest(fails):
    assert fails("distil").startswith("unknown command 'distil'; did you mean 'distill'?")


@pytest.mark.parametrize(
    ("override", "group", "wanted", "near"),
    [
        ("task=mrcp", "task", "mrcp", "mrpc"),
        ("recipe=tinbert", "recipe", "tinbert", "tinybert"),
        ("mapping=unifrom", "mapping", "unifrom", "uniform"),
        ("experiment=three_layer", "experiment", "three_layer", "three_layers"),
        ("+loss@losses.extra=hidden_mes", "loss", "hidden_mes", "hidden_mse"),
    ],
)
def test_an_unknown_choice_is_answered_with_the_nearest_and_all_others(fails, override, group, wanted, near):
    told = fails("distill", override)
    choices = ", ".join(sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml")))
    assert told == f"unknown {group} '{wanted}'; did you mean '{near}'?; choose from {choices}."


@pytest.mark.parametrize(
    ("command", "override", "near"),
    [
        ("distill", "student.layer=3", "layers"),
        ("distill", "teachr.path=x", "teacher"),
        ("finetune", "data.max_len=3", "max_length"),
        ("evaluate", "model.pth=x", "path"),
    ],
)
def test_a_mistyped_option_is_answered_with_the_nearest(fails, command, override, near):
    option = override.split("=")[0]
    told = fails(command, override)
    assert told == f"unknown option {option}; did you mean '{near}'?; to add it all the same, write +{option}=..."


def test_new_names_for_an_option_that_holds_some_are_told_how_to_be_added(fails):
    told = fails("distill", "stages={first: {}}")
    assert told == "stages holds options by name, and not all of these are there; to add some, write +stages=..."


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("student.layers=three", "student.layers: Value 'three'"),
        ("trainer.learning_rate=fast", "trainer.learning_rate: Value 'fast'"),
        ("trainer.learning_rate=-1", "trainer.learning_rate=-1.0 must be at least 0"),
        ("trainer.per_device_train_batch_size=0", "trainer.per_device_train_batch_size=0 must be at least 1"),
        ("trainer.tokens_per_batch=0", "trainer.tokens_per_batch=0 must be at least 1"),
        ("trainer.num_train_epochs=0", "trainer.num_train_epochs=0 and trainer.max_steps=-1 leave no step"),
        (
            "trainer.report_to=wandbb",
            "trainer.report_to=wandbb is unknown; did you mean 'wandb'?; choose from none, all",
        ),
        ("trainer.report_to=null", "trainer.report_to=None is unknown; did you mean 'none'?"),
        ("trainer.report_to=neptune", "trainer.report_to=neptune is not installed"),
        ("losses.hidden.weight=-1", "losses.hidden.weight=-1 must be a finite number"),
        ("seed=abc", "seed=abc must be a whole number"),
        ("student.hidden_size=48", "student.init=teacher copies whole layers, but student.hidden_size=48"),
        ("teacher.model.heads=3", "model.hidden_size=64 is not a multiple of model.heads=3"),
    ],
)
def test_a_bad_value_is_told_with_its_key_before_a_teacher_is_trained(fails, override, told):
    assert fails("distill", override, "output_dir=out").startswith(told)


def test_a_layer_out_of_range_is_told_with_both_numbers(fails):
    told = fails("distill", "mapping=explicit", "mapping.pairs=[[1,14]]", "output_dir=out")
    assert told.startswith("mapping pairs student layer 1 with teacher layer 14, but the teacher has 4 layers")


def test_unequal_heads_are_told_with_a_recipe_that_works(fails):
    told = fails("distill", "student.init=random", "student.heads=2", "output_dir=out")
    assert "student has 2 heads and the teacher 4" in told and "recipe=minilmv2" in told


def test_an_output_folder_that_holds_a_run_is_left_as_it_is(fails, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.json").write_text("{}")
    told = fails("finetune", "output_dir=out")
    assert "already holds a run (results.json); go on with existing=resume" in told and "existing=overwrite" in told
    assert (tmp_path / "out" / "results.json").read_text() == "{}"


@pytest.mark.parametrize("folder", ["file", "file/out"])
def test_an_output_folder_that_cannot_be_made_is_told(fails, tmp_path, folder):
    (tmp_path / "file").touch()
    assert fails("distill", f"output_dir={folder}").startswith(f"output_dir={folder} cannot be made, because ")


def test_a_missing_teacher_is_told(fails):
    assert (
        fails("distill", "task=agreement", "teacher.path=./none", "output_dir=out")
        == "teacher.path=./none: no such folder."
    )


def test_a_real_task_without_teacher_is_told_how_to_make_one(fails):
    told = fails("distill", "task=mrpc", "output_dir=out")
    assert told.startswith("task=mrpc needs a teacher: give teacher.path=") and "kdfeatures finetune task=mrpc" in told


def test_a_teacher_without_network_is_told(fails):
    told = fails("distill", "task=agreement", "teacher.path=org/nothing", "output_dir=out")
    assert "teacher.path=org/nothing: no such folder" in told and "HF_HUB_OFFLINE=1" in told


def test_a_missing_data_folder_is_told(fails, teacher):
    told = fails("distill", "task=cola", f"teacher.path={teacher}", "data.path=none", "output_dir=out")
    assert told.startswith("data.path='none' is not a folder")


def test_a_missing_split_is_told_with_those_there_are(fails, teacher):
    told = fails("distill", "task=agreement", f"teacher.path={teacher}", "split=tset", "output_dir=out")
    assert told == "task 'agreement' has no split 'tset'; it has train, validation, test"


def test_a_teacher_no_better_than_a_constant_is_told(fails, teacher):
    told = fails("distill", "task=agreement", f"teacher.path={teacher}", "data.train_examples=10", "output_dir=out")
    assert told.startswith("the teacher is no better than a constant on agreement validation")


def test_a_text_longer_than_the_models_positions_is_told(fails, tmp_path):
    tiny_classifier(layers=4, id2label=NAMES, max_position_embeddings=8).save_pretrained(tmp_path / "short")
    tokenizer().save_pretrained(tmp_path / "short")
    arguments = "task=agreement", f"teacher.path={tmp_path / 'short'}", "data.train_examples=10", "output_dir=out"
    told = fails("distill", *arguments)
    assert told.startswith(f"teacher.path={tmp_path / 'short'} has 8 positions, but an example has ")
    assert told.endswith("tokens; set data.max_length=8.")


def test_a_run_that_is_there_is_refused_before_anything_of_it_is_overwritten(fails, tmp_path):
    (tmp_path / "out" / ".hydra").mkdir(parents=True)
    (tmp_path / "out" / "results.json").touch()
    (tmp_path / "out" / ".hydra" / "config.yaml").write_text("of the first run")
    assert fails("distill", "output_dir=out").startswith("output_dir=out already holds a run (results.json)")
    assert (tmp_path / "out" / ".hydra" / "config.yaml").read_text() == "of the first run"


def test_nothing_to_evaluate_is_told(fails):
    assert fails("evaluate", "output_dir=out") == "nothing to evaluate: give model.path=FOLDER_OR_HUB_ID."


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("--bogus", "--bogus is no flag; options are written NAME=VALUE"),
        ("student.layers", "cannot read 'student.layers'"),
        ("mapping.pairs=[[1", "cannot read 'mapping.pairs=[[1'"),
        ("--config-dir=none", "--config-dir=none: no such folder"),
        ("task=null", "cannot read task=null: Config group override must be"),
    ],
)
def test_an_argument_that_cannot_be_read_is_told(fails, argument, told):
    assert fails("distill", argument).startswith(told)


def test_a_value_of_a_sweep_that_needs_quotes_is_named_alone(fails):
    told = fails("distill", "-m", "recipe=hard,logits", "output_dir=runs/seed=1")
    assert told.startswith("cannot read 'output_dir=runs/seed=1'") and told.endswith("\"NAME='VALUE'\".")


def test_lists_of_a_grid_are_written_as_those_of_a_sweep():
    given = ["task=cola,rte", "seeds=[1,2]", "recipe=tinybert,minilm", "learning_rate=1e-4", "student.layers=3"]
    assert written_out("glue", given) == [
        "tasks=[cola,rte]",
        "seeds=[1,2]",
        "recipe=tinybert",
        "recipes=[tinybert,minilm]",
        "learning_rates=[1e-4]",
        "student.layers=3",
    ]


@pytest.mark.parametrize("option", ["arms", "per_task"])
@pytest.mark.parametrize("written", ["{0}.cola=['seed=7']", "{0}={{cola: ['seed=7']}}", "+{0}.cola=['seed=7']"])
def test_what_a_grid_has_by_name_is_written_without_a_sign(fails, option, written):
    told = fails("glue", "task=cola", "teacher.root=t", written.format(option))
    assert told == f"{option}.cola: seed=7: the grid itself says seed; leave it out."


def test_a_mistake_in_the_last_job_of_a_sweep_stops_it_before_the_first(fails, monkeypatch, tmp_path):
    monkeypatch.setattr("kdfeatures.cli.commands.distill.run", lambda *args: pytest.fail("the sweep began"))
    assert fails("distill", "-m", "recipe=hard,tinbert").startswith("unknown recipe 'tinbert'")
    assert fails("distill", "-m", "recipe=hard", "student.layers=1,2", "seed=1,x").startswith("seed=x must be")
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_goes_on_after_a_job_that_fails_and_says_so_at_the_end(capfd, teacher, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        main(["distill", "-m", "task=mrpc,cola", f"teacher.path={teacher}", "data.path=nowhere", "output_dir=out"])
    lines = [line for line in capfd.readouterr().err.splitlines() if line]
    assert stopped.value.code == 2
    assert [line.split(":")[:2] for line in lines] == [["kdfeatures", " error"]] * 2
    assert "mrpc" in lines[0] and "cola" in lines[1]
    assert list((tmp_path / "out").glob("task*")) == []  # what is refused leaves nothing


def test_no_job_of_a_sweep_starts_when_one_cannot(fails, teacher, tmp_path):
    told = fails("distill", "-m", "task=agreement", "student.layers=2,9", f"teacher.path={teacher}", "output_dir=out")
    assert told.startswith("student.init=teacher copies layers, but student.layers=9 is more than the teacher's 4")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"]])
def test_no_command_prints_the_commands(capsys, argv):
    main(argv)
    out = capsys.readouterr().out
    assert all(f"  {command} " in out for command in SUMMARIES)


@pytest.mark.parametrize("command", SUMMARIES)
def test_help_of_a_command_runs_nothing(capsys, command):
    main([command, "--help"])
    assert capsys.readouterr().out.startswith(f"kdfeatures {command}: ")


@pytest.mark.slow
def test_the_program_prints_one_line_and_nothing_of_its_libraries(teacher, tmp_path):
    arguments = ["distill", "task=rte", f"teacher.path={teacher}", "output_dir=out"]
    done = subprocess.run(
        [sys.executable, "-m", "kdfeatures", *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"kdfeatures: error: the teacher {teacher} has the classes unacceptable, acceptable")


def test_a_sweep_over_a_glob_composes_every_choice_and_names_folders_by_it(teacher):
    arguments = ["-m", "experiment=layer_maps", "arm=glob(*)", "task=agreement", f"teacher.path={teacher}"]
    sweep = checked("distill", *arguments).sweep
    assert sweep.fixed == ["experiment", "task", "teacher.path"]
    with pytest.raises(UserError, match="unknown option trainer.max_step; did you mean 'max_steps'"):
        checked("distill", "-m", "arm=glob(*)", "experiment=layer_maps", "trainer.max_step=1")
