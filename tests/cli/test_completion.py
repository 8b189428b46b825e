"""Completion as a shell asks for it, by Hydra's plugins."""

import shutil
import subprocess
import sys

import pytest
from support.shared_data import ROOT

from kdfeatures.cli.completion import LINE
from kdfeatures.cli.help import SUMMARIES
from kdfeatures.cli.main import main


@pytest.fixture
def offered(monkeypatch, capfd):
    """Return a function that returns what is offered for a line as it was typed so far."""
    monkeypatch.setattr(sys, "argv", sys.argv)

    def ask(line, shell="bash"):
        monkeypatch.setenv(LINE, line)
        main(["-sc", f"query={shell}"])
        told = capfd.readouterr()
        assert told.err == ""
        return told.out.split()

    return ask


@pytest.mark.parametrize("program", ["kdfeatures", "/opt/bin/kdfeatures", "python -m kdfeatures"])
def test_commands_come_first(offered, program):
    assert offered(f"{program} ") == list(SUMMARIES)
    assert offered(f"{program} ex") == ["explain", "export"]
    assert offered(f"{program} export") == ["export"]


@pytest.mark.parametrize("shell", ["bash", "fish", "zsh"])
def test_then_groups_choices_and_options_of_the_command(offered, shell):
    assert offered("kdfeatures distill task=mr", shell) == ["task=mrpc"]
    assert offered("kdfeatures distill student=tiny", shell) == [
        "student=tiny",
        "student=tinybert4",
        "student=tinybert6",
    ]
    assert offered("kdfeatures distill trainer.learning", shell) == ["trainer.learning_rate="]
    assert "model.batch_size=" in offered("kdfeatures evaluate model.", shell)
    assert offered("kdfeatures compare base", shell) == ["baseline="]


def test_options_are_those_of_the_choices_on_the_line(offered):
    assert offered("kdfeatures distill recipe=minilmv2_joint losses.") == ["losses.logits.", "losses.relations."]
    assert offered("kdfeatures distill mapping=explicit mapping.pa") == ["mapping.pairs="]


def test_flags_do_not_stand_in_the_way(offered, tmp_path):
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "mine.yaml").write_text("name: mine\n")
    assert offered("kdfeatures distill -m seed=1,2 task=mrp") == ["task=mrpc"]
    assert offered(f"kdfeatures distill --config-dir {tmp_path} task=mi") == ["task=mine"]


@pytest.mark.parametrize("rest", ["task='mr", "task=none x", "--nothing task=m", "distil task=m", "x", "distill --cf"])
def test_nothing_is_offered_for_a_line_that_cannot_be_read(offered, rest):
    assert offered(f"kdfeatures {rest if rest.startswith('distil') else f'distill {rest}'}") == []


@pytest.mark.parametrize("argv", [["-sc", "install=bash"], ["distill", "-sc", "install=bash"]])
def test_what_is_installed_is_for_the_program_however_it_was_called(monkeypatch, capsys, argv):
    monkeypatch.setattr(sys, "argv", ["/x/kdfeatures/__main__.py"])
    main(argv)
    assert capsys.readouterr().out.rstrip().endswith("-F hydra_bash_completion kdfeatures")


@pytest.mark.parametrize("words", [["install=csh"], []])
def test_a_shell_without_completion_is_told(monkeypatch, capsys, words):
    monkeypatch.setattr(sys, "argv", sys.argv)
    with pytest.raises(SystemExit, match="2"):
        main(["-sc", *words])
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.endswith("write kdfeatures -sc install=bash, zsh or fish.\n")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_completes_with_what_was_installed(tmp_path):
    program = tmp_path / "kdfeatures"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m kdfeatures "$@"\n')
    program.chmod(0o755)
    script = (
        f'PATH={tmp_path}:$PATH\neval "$(kdfeatures distill -sc install=bash)"\ncomplete -p kdfeatures\n'
        'COMP_LINE="kdfeatures distill task=mr"; COMP_POINT=${#COMP_LINE}; COMP_CWORD=2\n'
        'hydra_bash_completion\necho "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.stdout.splitlines()[-1] == "task=mrpc", done.stderr
    assert "hydra_bash_completion kdfeatures" in done.stdout
