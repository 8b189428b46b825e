"""kdfeatures submission: check a zip of predictions before the GLUE server does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from kdfeatures.benchmark.submission import FILES, Checked, checked, told
from kdfeatures.config.options import SubmissionOptions, options
from kdfeatures.config.paths import NOWHERE
from kdfeatures.config.schema import plain_config
from kdfeatures.errors import UserError
from kdfeatures.runs.results import markdown


def check(cfg: DictConfig) -> None:
    """Raise UserError for what `run` would refuse by its options."""
    options(plain_config(cfg, NOWHERE), SubmissionOptions)


def run(cfg: DictConfig, output_dir: Path) -> dict[str, Any]:
    """Print a table of the 11 files and every problem of the zip `file`; raises UserError when there is any."""
    if cfg.file is None:
        raise UserError("nothing to check: say which zip, kdfeatures submission FILE.")
    checks = checked(Path(cfg.file))
    problems = told(checks)
    print(f"\n{_table(checks)}")
    if problems:
        print("\n" + "\n".join(problems))
        count = f"{len(problems)} problems, the first: " if len(problems) > 1 else ""
        raise UserError(f"the GLUE server would refuse {cfg.file}: {count}{problems[0]}.")
    print(f"\n{cfg.file} is what the GLUE server takes.")
    return {"command": "submission", "file": str(cfg.file), "rows": checks.rows}


def _table(checks: Checked) -> str:
    lines = []
    for part in FILES:
        rows, problems = checks.rows[part.name], checks.problems.get(part.name, [])
        state = "not read" if rows is None else "ok"
        lines.append(
            {
                "file": part.member,
                "rows": "" if rows is None else str(rows),
                "needed": str(part.rows),
                "state": problems[0] if problems else state,
            }
        )
    return markdown(lines)
