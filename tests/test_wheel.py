import json
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

COMPOSE_COMMANDS = """
import json
import hydra, kdfeatures
from kdfeatures.config.paths import conf_dir
from kdfeatures.cli.help import SUMMARIES

with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
    for command in SUMMARIES:
        hydra.compose(command)
print(json.dumps({"package": kdfeatures.__file__, "conf": str(conf_dir())}))
"""


def contents(conf):
    return {str(path.relative_to(conf)): path.read_bytes() for path in conf.rglob("*.yaml")}


@pytest.mark.slow
def test_the_wheel_in_a_fresh_environment_composes_every_command_and_has_the_configs_of_the_checkout(tmp_path):
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, cwd=tmp_path)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    fresh = tmp_path / "fresh"
    venv.create(fresh)
    python = fresh / "bin" / "python"
    install = ["install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(python), *install], check=True)
    # the dependencies are this environment's; a .pth line adds the folder, not the editable install in it
    inside = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    Path(inside, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    result = subprocess.run([python, "-c", COMPOSE_COMMANDS], capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-2000:]
    found = json.loads(result.stdout.splitlines()[-1])
    assert Path(found["package"]).is_relative_to(fresh)
    assert Path(found["conf"]).is_relative_to(fresh)
    # test_conf composes every one of them
    assert contents(Path(found["conf"])) == contents(ROOT / "conf")
    package = Path(found["package"]).parent
    assert all((package / "analysis" / name).is_file() for name in ("page.html", "page.css", "page.js"))
    shared = [
        path.name for path in (ROOT / "kdfeatures" / "pages").iterdir() if path.suffix in (".html", ".css", ".js")
    ]
    assert len(shared) > 3 and all((package / "pages" / name).is_file() for name in shared)
    script = subprocess.run([fresh / "bin" / "kdfeatures", "--help"], capture_output=True, text=True, cwd=tmp_path)
    assert "distill" in script.stdout
