"""The zip of a grid: checked before anything runs, its own written again, another's never."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import hydra
import pytest
from omegaconf import OmegaConf
from support.glue_copies import ROWS, answers_in, glue_copy, model

from kdfeatures.benchmark.settings import GridRunSettings
from kdfeatures.benchmark.submission import check_submission
from kdfeatures.benchmark.submission.from_grid import check_grid_submission, submit
from kdfeatures.errors import UserError


@pytest.fixture
def grid(composing, tmp_path):
    """A function that returns the arguments of both functions, for a finished student of WNLI and the zip's options."""
    glue = glue_copy(tmp_path / "glue", rows={"wnli": ROWS["wnli"]})
    student = model(tmp_path / "student", ["not_entailment", "entailment"], "entailment")
    cell = SimpleNamespace(folder=student, config=lambda: OmegaConf.create({"data": {"max_length": 16}}))
    units = [
        SimpleNamespace(task=task, arm=arm, chosen=(cell,))
        for task in ("agreement", "wnli")
        for arm in ("hard", "tinybert_joint")
    ]

    def made(*options, output_dir=tmp_path):
        given = ["tasks=[wnli,agreement]", f"data.path={glue}", *options]
        cfg = hydra.compose("glue", given)
        return units, GridRunSettings.read(cfg, given, output_dir), cfg, output_dir

    return made


def test_the_first_recipes_student_answers_and_generated_tasks_have_no_file(grid, tmp_path):
    file = tmp_path / "out.zip"
    check_grid_submission(*grid(f"submission={file}"))
    found = submit(*grid(f"submission={file}"))
    assert found["predicted"] == {"WNLI": {"rows": 146, "model": str(tmp_path / "student")}}
    assert check_submission(file) == [] and set(answers_in(file, "WNLI")) == {"1"}


def test_its_own_zip_is_written_again_and_another_is_not(grid, tmp_path):
    own, other = tmp_path / "own.zip", tmp_path / "other.zip"
    submit(*grid(f"submission={own}"))
    before = own.read_bytes()
    check_grid_submission(*grid(f"submission={own}"))
    submit(*grid(f"submission={own}"))
    assert own.read_bytes() == before
    other.touch()
    with pytest.raises(UserError, match="other.zip exists; remove it, or choose another name"):
        check_grid_submission(*grid(f"submission={other}"))
    with pytest.raises(UserError, match="own.zip exists"):
        check_grid_submission(*grid(f"submission={own}", output_dir=tmp_path / "another_grid"))


def test_a_zip_that_cannot_be_made_is_refused_before_anything_runs(grid, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file/out.zip cannot be made, because .*file is a file"):
        check_grid_submission(*grid(f"submission={tmp_path / 'file' / 'out.zip'}"))


def test_two_processes_that_end_a_grid_write_its_zip_one_after_the_other(grid, tmp_path):
    own = grid(f"submission={tmp_path / 'out.zip'}")
    with ThreadPoolExecutor(2) as pool:
        found = [made.result() for made in [pool.submit(submit, *own) for _ in range(2)]]
    assert found[0] == found[1] and check_submission(tmp_path / "out.zip") == []


def test_a_sample_and_test_splits_are_looked_at_before_anything_runs(grid, tmp_path):
    with pytest.raises(UserError, match=r"CBOW\.zip"):
        check_grid_submission(*grid(f"submission={tmp_path / 'out.zip'}", f"sample={tmp_path / 'CBOW.zip'}"))
    units, settings, cfg, folder = grid(f"submission={tmp_path / 'out.zip'}")
    cfg.data.path = str(glue_copy(tmp_path / "part", rows={"wnli": 9}))
    with pytest.raises(UserError, match="146"):
        check_grid_submission(units, settings, cfg, folder)
