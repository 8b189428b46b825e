import json
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

COMPOSE_ALL = """
import json, sys
from pathlib import Path
import hydra, kdfeatures
from kdfeatures.paths import conf_dir
from kdfeatures.help import SUMMARIES

conf = conf_dir()
composed = []
with hydra.initialize_config_dir(str(conf), version_base="1.3"):
    for command in SUMMARIES:
        hydra.compose(command)
        composed.append(command)
    for group in ("task", "recipe", "mapping", "projection", "student", "trainer", "augmentation", "cache"):
        for path in sorted((conf / group).glob("*.yaml")):
            hydra.compose("distill", [f"{group}={path.stem}"])
            composed.append(f"{group}/{path.stem}")
    for path in sorted((conf / "loss").glob("*.yaml")):
        hydra.compose("distill", [f"+loss@losses.extra={path.stem}"])
        composed.append(f"loss/{path.stem}")
    for path in sorted((conf / "experiment").glob("*.yaml")):
        hydra.compose("distill", [f"experiment={path.stem}"])
        composed.append(f"experiment/{path.stem}")
files = sorted(str(path.relative_to(conf)) for path in conf.rglob("*.yaml"))
print(json.dumps({"package": kdfeatures.__file__, "conf": str(conf), "composed": composed, "files": files}))
"""


@pytest.mark.slow
def test_the_wheel_in_a_fresh_environment_composes_every_config(tmp_path):
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, cwd=tmp_path)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    fresh = tmp_path / "fresh"
    venv.create(fresh, with_pip=True)
    python = fresh / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    # the dependencies are this environment's; a .pth line adds the folder, not the editable install in it
    inside = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    Path(inside, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    result = subprocess.run([python, "-c", COMPOSE_ALL], capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-2000:]
    found = json.loads(result.stdout.splitlines()[-1])
    assert Path(found["package"]).is_relative_to(fresh)
    assert Path(found["conf"]).is_relative_to(fresh)
    assert found["files"] == sorted(str(path.relative_to(ROOT / "conf")) for path in (ROOT / "conf").rglob("*.yaml"))
    page = Path(found["package"]).parent / "inspection"
    assert all((page / name).is_file() for name in ("page.html", "page.css", "page.js"))
    script = subprocess.run([fresh / "bin" / "kdfeatures", "--help"], capture_output=True, text=True, cwd=tmp_path)
    assert "distill" in script.stdout
