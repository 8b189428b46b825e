import json
import os
import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_a_launcher_runs_every_job_and_the_exit_status_tells_that_one_failed(workspace, launcher):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason='needs pip install -e ".[launchers]"')
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason='needs pip install -e ".[launchers]"')
    folder = workspace.folder / launcher
    result = subprocess.run(
        [
            sys.executable, "-m", "kdfeatures", "distill", "-m", *workspace.task, f"hydra/launcher={launcher}",
            f"teacher.path={workspace.teacher}", f"output_dir={folder}", "recipe=logits", "student.heads=2",
            "data.labelled=60,70000", "student.init=random",
            "trainer.max_steps=2", "trainer.disable_tqdm=true", "trainer.eval_strategy=no",
            "trainer.save_strategy=no",
        ],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )  # fmt: skip
    found = [json.loads(path.read_text()) for path in folder.glob("*/results.json")]
    assert [run["labelled_examples"] for run in found] == [60]
    assert result.returncode != 0
    assert "data.labelled=70000" in result.stderr
