import pytest

from kdfeatures import cli
from kdfeatures.cli import main


@pytest.fixture
def two(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["evaluate", "model.path=x"], "kdfeatures evaluate runs in one process, but 2 were started"),
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


def test_an_error_is_told_once_on_each_machine(two, monkeypatch, capsys):
    for rank, told in {"0": True, "1": False}.items():
        monkeypatch.setenv("LOCAL_RANK", rank)
        with pytest.raises(SystemExit):
            cli._fail(ValueError("wrong"))
        assert ("wrong" in capsys.readouterr().err) == told
