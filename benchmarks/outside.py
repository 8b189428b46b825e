"""What of a command is not its training: start, checks, reading, scoring, saving; here and in another checkout?

python -m benchmarks.outside TEACHER GLUE                # folders: a BERT fine-tuned on MRPC; nyu-mll/glue
python -m benchmarks.outside TEACHER GLUE before=FOLDER  # beside a checkout of another commit

The job: a student of half the teacher's layers learns EXAMPLES of MRPC's training examples in one epoch by
recipe=tinybert_joint, and is scored on the 408 of the validation split, as is its teacher. Each run is a process of its
own, the variants take turns, and what counts is the time from the start of the process to its end without that of the
training loop, in which the student is scored once. A first run finds $KDFEATURES_CACHE empty; further ones, as those of
a grid or a sweep, find what earlier ones have kept there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.harness import append_rows
from kdfeatures.evaluation.timing import ratios

EXAMPLES, ROUNDS, THREADS = 200, 7, 2
HERE = Path(__file__).parents[1]


def outside(tree: Path, teacher: str, glue: str, cache: Path, scratch: Path) -> float:
    """Run the job with the package in `tree`, and return its seconds outside the training loop."""
    overrides = [
        "task=mrpc",
        f"data.path={glue}",
        f"teacher.path={teacher}",
        "student.layers=3",
        "recipe=tinybert_joint",
        f"data.train_examples={EXAMPLES}",
        "trainer.num_train_epochs=1",
        "trainer.disable_tqdm=true",
        f"output_dir={scratch / 'run'}",
        "existing=overwrite",
    ]
    threads = str(THREADS)
    environment = os.environ | {"PYTHONPATH": str(tree), "KDFEATURES_CACHE": str(cache), "OMP_NUM_THREADS": threads}
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "kdfeatures", "distill", *overrides],
        cwd=scratch,
        env=environment,
        check=True,
        capture_output=True,
    )
    seconds = time.perf_counter() - start
    return seconds - json.loads((scratch / "run" / "results.json").read_text())["seconds"]["train"]


def main(teacher: str, glue: str, *others: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        variants: dict[str, tuple[Path, bool]] = {}  # a checkout, and whether it finds what was kept
        for name, _, tree in (other.partition("=") for other in others):
            variants[name] = (Path(tree).resolve(), True)
        variants |= {"first run": (HERE, False), "further run": (HERE, True)}
        seconds: dict[str, list[float]] = {name: [] for name in variants}
        for number in range(ROUNDS + 1):
            for name, (tree, is_further) in variants.items():
                cache = scratch / (f"kept-{name}" if is_further else f"empty-{number}")
                taken = outside(tree, str(Path(teacher).resolve()), str(Path(glue).resolve()), cache, scratch)
                if number:  # the first round fills what is kept, and the system's own cache of files
                    seconds[name].append(taken)
    reference = next(iter(seconds.values()))
    for name, taken in seconds.items():
        spread, middle = ratios(taken, reference), sorted(taken)[len(taken) // 2]
        row = {"variant": name, "task": "mrpc", "examples": EXAMPLES, "seconds": f"{middle:.1f}"}
        row |= {"ratio": f"{spread.median:.2f}", "p20": f"{spread.low:.2f}", "p80": f"{spread.high:.2f}"}
        append_rows("outside", [row])


if __name__ == "__main__":
    main(*sys.argv[1:])
