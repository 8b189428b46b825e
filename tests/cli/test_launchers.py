import json

import pytest
from support.launching import ended, program

# joblib would start an interpreter for each job, too; submitit does
PROGRAMS = {"joblib": "support.forked_jobs", "submitit_local": "kdfeatures"}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", PROGRAMS)
def test_a_launcher_runs_every_job_and_the_exit_status_tells_that_one_failed(workspace, tmp_path, launcher):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason='needs pip install -e ".[launchers]"')
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason='needs pip install -e ".[launchers]"')
    folder, printed = workspace.folder / launcher, tmp_path / "printed.txt"
    arguments = [
        "distill", "-m", *workspace.task, f"hydra/launcher={launcher}", f"teacher.path={workspace.teacher}",
        f"output_dir={folder}", "recipe=logits", "student.heads=2", "data.labelled=60,70000", "student.init=random",
        "trainer.max_steps=2", "trainer.disable_tqdm=true", "trainer.eval_strategy=no", "trainer.save_strategy=no",
    ]  # fmt: skip
    status = ended(program(PROGRAMS[launcher], arguments, printed, tmp_path / "said.txt"))
    found = [json.loads(path.read_text()) for path in folder.glob("*/results.json")]
    assert [run["labelled_examples"] for run in found] == [60]
    assert status > 0
    assert "data.labelled=70000" in printed.read_text()
