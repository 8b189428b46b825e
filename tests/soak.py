"""Two long runs whose memory and open files are watched: a live teacher with moving maps, and one from the cache.

    python tests/soak.py             2,000 steps each; writes docs/soak.png and prints a table
    python tests/soak.py 300         fewer steps

Resident memory and open files are read from /proc after every step, so on Linux only.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
sys.path.insert(0, str(Path(__file__).parent))

import matplotlib.pyplot as plt
import torch
from support.workspace import Workspace, made_workspace
from transformers import TrainerCallback

from kdfeatures.cli.main import main
from kdfeatures.training.length_batched import LengthBatchedTrainer

STEPS = 2000
FIGURE = Path(__file__).parents[1] / "docs" / "soak.png"
RUNS = {
    "moving map, live teacher": ["recipe=hidden_joint", "mapping=emd"],
    "attention and hidden, cached teacher": ["recipe=tinybert_joint", "cache=auto", "cache.path=OUT/cache"],
}
MIB = 2**20


class Watch(TrainerCallback):
    """MiB of resident memory, and the number of open files, after each step."""

    def __init__(self) -> None:
        self.memory: list[float] = []
        self.files: list[int] = []

    def on_step_end(self, args, state, control, **kwargs) -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.memory.append(pages * os.sysconf("SC_PAGE_SIZE") / MIB)
        self.files.append(len(os.listdir("/proc/self/fd")))


def watched(workspace: Workspace, folder: Path, options: list[str], steps: int) -> Watch:
    """Run `steps` steps of distillation in a process of its own, and return what was seen in it."""
    reading, writing = os.pipe()
    if not os.fork():
        try:
            _run(workspace, folder, options, steps, writing)
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writing)
    watch = Watch()
    with os.fdopen(reading) as lines:
        for line in lines:
            memory, files = line.split()
            watch.memory.append(float(memory))
            watch.files.append(int(files))
    assert os.wait()[1] == 0
    return watch


def _run(workspace: Workspace, folder: Path, options: list[str], steps: int, writing: int) -> None:
    watch, train = Watch(), LengthBatchedTrainer.train
    torch.set_num_threads(1)

    def watching(trainer: LengthBatchedTrainer, *args: Any, **kwargs: Any) -> Any:
        trainer.add_callback(watch)
        return train(trainer, *args, **kwargs)

    LengthBatchedTrainer.train = watching  # type: ignore[method-assign]
    options = [option.replace("OUT", str(folder)) for option in options]
    main(["distill", *workspace.task, f"teacher.path={workspace.teacher}", f"output_dir={folder}", "student.layers=3",
          f"trainer.max_steps={steps}", "trainer.disable_tqdm=true", "trainer.eval_strategy=steps",
          f"+trainer.eval_steps={steps // 10}", "trainer.save_strategy=steps", f"+trainer.save_steps={steps // 20}",
          "trainer.logging_steps=10", *options])  # fmt: skip
    with os.fdopen(writing, "w") as stream:
        stream.writelines(f"{memory} {files}\n" for memory, files in zip(watch.memory, watch.files, strict=True))


def run(steps: int) -> None:
    """Print the table and write the figure."""
    figure, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(7, 4.5), layout="constrained")
    rows = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "workspace").mkdir()
        workspace = Workspace(folder / "workspace")
        if not os.fork():
            made_workspace(workspace.folder)
            os._exit(0)
        assert os.wait()[1] == 0
        for name, options in RUNS.items():
            out = folder / name.replace(" ", "-").replace(",", "")
            watch = watched(workspace, out, options, steps)
            style = "--" if rows else "-"
            above.plot(watch.memory, style, label=name)
            below.plot(watch.files, style, label=name)
            tenth = steps // 10
            early, late = (sum(part) / len(part) for part in (watch.memory[tenth : 2 * tenth], watch.memory[-tenth:]))
            written = sum(file.stat().st_size for file in out.glob("*.log*")) / MIB
            state = (out / "trainer_state.json").stat().st_size / MIB
            checkpoints = len(list(out.glob("checkpoint-*")))
            rows.append(
                f"| {name} | {early:.0f} | {late:.0f} | {watch.files[tenth]} | {watch.files[-1]} | {checkpoints} "
                f"| {state + written:.2f} |"
            )
    above.set_ylabel("resident memory, MiB")
    above.set_ylim(0, 1.4 * above.get_ylim()[1])
    above.legend(loc="lower right")
    below.set_ylabel("open files")
    below.set_xlabel("step")
    below.set_ylim(bottom=0)
    figure.savefig(FIGURE, dpi=110)
    print("\n| run | MiB, second tenth | MiB, last tenth | files, early | files, end | checkpoints kept | log, MiB |")
    print("|---|---:|---:|---:|---:|---:|---:|", *rows, sep="\n")


if __name__ == "__main__":
    run(int(sys.argv[1]) if len(sys.argv) > 1 else STEPS)
