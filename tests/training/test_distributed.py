import pytest
import torch

from kdfeatures.cli import main as cli
from kdfeatures.cli.main import main
from kdfeatures.training.distributed import leave_processes


@pytest.fixture
def two(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["evaluate", "task=agreement", "model.path=x"], "kdfeatures evaluate runs in one process, but 2 were started"),
        (
            ["distill"],
            "2 processes need one folder, but each would name its own after the time; give output_dir=FOLDER",
        ),
        (["distill", "output_dir=x", "hydra/launcher=basic"], "hydra/launcher=basic starts jobs of its own"),
    ],
)
def test_what_two_processes_cannot_do_is_refused_in_one_line(two, capsys, arguments, told):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    error = capsys.readouterr().err
    assert error.startswith(f"kdfeatures: error: {told}") and error.count("\n") == 1


def test_the_first_process_of_a_machine_tells_an_error_at_once_and_the_others_only_if_they_are_still_there(
    two, monkeypatch, capsys
):
    waits = []
    monkeypatch.setattr(cli.time, "sleep", waits.append)
    for rank, waited in {"0": [], "1": [cli.HEAD_START]}.items():
        monkeypatch.setenv("LOCAL_RANK", rank)
        with pytest.raises(SystemExit):
            cli._fail(ValueError("wrong"))
        assert capsys.readouterr().err == "kdfeatures: error: wrong\n"
        assert waits == waited


def test_a_process_that_has_done_its_work_leaves_the_group_and_its_threads(two, tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    leave_processes()
    assert not torch.distributed.is_initialized()
    leave_processes()  # nothing to leave
