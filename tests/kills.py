"""Runs killed without warning, and taken up again: they must end as if nothing had happened.

    python tests/kills.py            150 kills over all kinds of runs, with a table
    python tests/kills.py 20 cache   20 kills of the kinds that are named

Half of the kills come at a random instant, half right before a random operation on the file system (a file opened for
writing, a rename, a removal), so also between those of one write. Half of the runs are killed once more when they are
taken up. What must hold: no JSON or weights file of a finished name is half, results.json says what is there, and the
end is the one of two runs that nobody killed: byte for byte where these two agree, value for value in JSON otherwise.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
sys.path.insert(0, str(Path(__file__).parent))

import torch
from safetensors import SafetensorError, safe_open
from support.workspace import Workspace, made_workspace

from kdfeatures import checksums
from kdfeatures.cli.main import main
from kdfeatures.files import LOCK

KILLS = 150
UNLIKE = (
    "/existing",
    "/seconds",
    "/train",
    "/total",
    "_runtime",
    "_per_second",
)  # what is said when a run is taken up, and times
EVENTS = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate")


@dataclass
class Kind:
    """command: what is run, with the folder as OUT. share: of the kills. resume: what is said when it is taken up."""

    name: str
    command: list[str]
    share: int
    resume: list[str] = field(default_factory=lambda: ["existing=resume"])


def kinds(workspace: Workspace) -> list[Kind]:
    short = [*workspace.task, "trainer.disable_tqdm=true", "trainer.learning_rate=2e-3"]
    steps = ["trainer.save_strategy=steps", "+trainer.save_steps=3", "trainer.eval_strategy=no", "trainer.max_steps=15"]
    distill = ["distill", *short, *steps, f"teacher.path={workspace.teacher}", "student.layers=3"]
    grid = ["glue", "task=agreement", "recipe=tinybert_joint", "seed=1,2", "learning_rates=[1e-3,3e-3]",
            "controls=[hard]", "resamples=50", "student.layers=1", "student.init=random", "trainer.max_steps=4",
            "trainer.disable_tqdm=true", "trainer.eval_strategy=no", "trainer.save_strategy=no",
            "data.train_examples=128", "data.max_length=32", "teacher.force=true",
            "finetune=['trainer.max_steps=4','trainer.disable_tqdm=true','trainer.save_strategy=no']"]  # fmt: skip
    return [
        Kind("distill, one stage", [*distill, "recipe=tinybert_joint"], 25),
        Kind("distill, two stages", [*distill, "recipe=tinybert"], 25),
        Kind("distill, moving map", [*distill, "recipe=hidden_joint", "mapping=emd"], 15),
        Kind("distill, cache", [*distill, "recipe=tinybert_joint", "cache=auto", "cache.path=OUT/cache",
                                "cache.shard_examples=40"], 20),
        Kind("distill, augmentation", [*distill, "recipe=tinybert_joint", "augmentation=tinybert",
                                       "augmentation.copies=2"], 15),
        Kind("finetune", ["finetune", *short, *steps, f"model.path={workspace.encoder}"], 15),
        Kind("fill a cache", ["cache", *workspace.task, f"teacher.path={workspace.teacher}", "student.layers=3",
                       "cache.path=OUT/cache", "cache.shard_examples=40"], 15, resume=[]),
        Kind("glue", grid, 10, resume=[]),
        Kind("export", ["export", *workspace.task, f"model.path={workspace.teacher}", "resamples=50"], 10),
    ]  # fmt: skip


class Killer:
    """An audit hook that counts operations on files below a folder, and ends the process right before one of them."""

    def __init__(self, root: Path, at: int | None, count: Path | None) -> None:
        self.root, self.at, self.count, self.seen = str(root), at, count, 0

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if event not in EVENTS or not isinstance(args[0], str | bytes | os.PathLike):
            return
        if event == "open" and not args[2] & (os.O_WRONLY | os.O_RDWR):
            return
        if not os.path.abspath(os.fsdecode(args[0])).startswith(self.root):
            return
        if self.seen == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.seen += 1


def log_of(out: Path) -> Path:
    """Where the output of a command goes. Two folders up: what it writes to may be full."""
    return out.parents[1] / f"{out.parent.name}-{out.name}.log"


def child(command: list[str], out: Path, at: int | None = None, count: Path | None = None) -> int:
    """Start a command in a process of its own, forked from this one, and return its number."""
    process = os.fork()
    if process:
        return process
    status = 70
    try:
        log = os.open(log_of(out), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        torch.set_num_threads(1)
        killer = Killer(out, at, count)
        sys.addaudithook(killer)
        try:
            main([part.replace("OUT", str(out)) for part in [*command, "output_dir=OUT"]])
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        sys.stdout.flush()
        if count is not None:
            count.write_text(str(killer.seen))
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


def ended(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def whole_run(command: list[str], out: Path) -> tuple[float, int]:
    """Run a command to its end; return the seconds it took and the operations on files."""
    start, count = time.monotonic(), out.with_name(f"{out.name}.count")
    status = ended(child(command, out, count=count))
    assert status == 0, log_of(out).read_text()[-3000:]
    return time.monotonic() - start, int(count.read_text())


def files_of(out: Path) -> dict[str, str]:
    """Return the sha256 of every file, by its name in the folder."""
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name != LOCK  # empty; a run that was killed right after its end leaves it
    }


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            yield from leaves(inner, f"{name}/{key}")
    else:
        yield name, value


def halves(out: Path) -> list[str]:
    """Return what a reader of the folder would take for whole and is not."""
    faults = []
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        if not path.is_file() or any(part.startswith(".") for part in Path(name).parts):
            continue
        sealed = [parent for parent in path.parents if parent.name.startswith("checkpoint-")]
        if sealed and not (sealed[0] / checksums.FILE).exists():
            continue  # not a checkpoint yet
        if path.suffix == ".json":
            try:
                json.loads(path.read_text(encoding="utf-8"))
            except ValueError:
                faults.append(f"{name} is no JSON")
        if path.name == checksums.FILE and checksums.flaw(path.parent):
            faults.append(f"{path.parent.name}: {checksums.flaw(path.parent)}")
        if path.name == "results.json":
            flaw = checksums.flaw(path.parent, json.loads(path.read_text()).get("files") or {})
            faults += [f"{name} is there, but {flaw}"] if flaw else []
        if path.suffix == ".safetensors" and (path.parent / "results.json").exists():
            try:
                safe_open(path, "pt").keys()
            except SafetensorError as error:
                faults.append(f"{name}: {error}")
    return faults


class Ends:
    """What two runs that nobody killed left behind."""

    def __init__(self, first: Path, second: Path) -> None:
        one, two = files_of(first), files_of(second)
        self.names = set(one)
        assert self.names == set(two), self.names ^ set(two)
        self.equal = {name: one[name] for name in one if one[name] == two[name]}
        self.values = {
            name: self._agreed(first, second, name) for name in self.names - self.equal.keys() if name.endswith(".json")
        }

    def _agreed(self, first: Path, second: Path, name: str) -> dict[str, Any]:
        one, two = (self._plain(folder, name) for folder in (first, second))
        return {key: value for key, value in one.items() if two.get(key) == value and not key.endswith(UNLIKE)}

    @staticmethod
    def _plain(folder: Path, name: str) -> dict[str, Any]:
        text = (folder / name).read_text(encoding="utf-8").replace(str(folder), "OUT")
        return dict(leaves(json.loads(text)))

    def differences(self, out: Path) -> list[str]:
        made = files_of(out)
        faults = [f"{name} is left" for name in sorted(made.keys() - self.names)]
        faults += [f"{name} is missing" for name in sorted(self.names - made.keys())]
        faults += [f"{name} differs" for name, digest in self.equal.items() if name in made and made[name] != digest]
        for name, values in self.values.items():
            if name in made:
                plain = self._plain(out, name)
                faults += [
                    f"{name} {key}: {plain.get(key)} for {v}" for key, v in values.items() if plain.get(key) != v
                ]
        return faults


def killed(kind: Kind, out: Path, seconds: float, operations: int, rng: random.Random, *, writing: bool) -> list[str]:
    """Kill a run, once or twice, take it up again, and return what is wrong in between."""
    faults, command = [], kind.command
    for _ in range(1 + rng.randrange(2)):
        if writing:
            status = ended(child(command, out, at=rng.randrange(operations)))
        else:
            process = child(command, out)
            time.sleep(rng.uniform(0, seconds))
            os.kill(process, signal.SIGKILL)
            status = ended(process)
        if out.exists():
            faults += halves(out)
        if status not in (-signal.SIGKILL, 0):
            faults.append(f"ended with {status}")
        command = kind.command + kind.resume
    status = ended(child(command, out))
    return faults + ([f"taken up, ended with {status}"] if status else [])


def attack(kind: Kind, folder: Path, kills: int) -> tuple[int, int, list[str]]:
    """Return how many runs were killed at an instant and in a write, and what went wrong."""
    seconds, operations = whole_run(kind.command, folder / "first")
    whole_run(kind.command, folder / "second")
    ends = Ends(folder / "first", folder / "second")
    counts, faults = [0, 0], []
    for number in range(kills):
        rng = random.Random(f"{kind.name} {number}")
        out = folder / f"kill-{number}"
        wrong = killed(kind, out, seconds, operations, rng, writing=number % 2 == 1)
        wrong += ends.differences(out) if not wrong else []
        counts[number % 2] += 1
        faults += [f"{kind.name}, kill {number}: {text}" for text in wrong]
        if not wrong:
            shutil.rmtree(out)
    return counts[0], counts[1], faults


def prepared() -> tuple[Path, Workspace]:
    """Import what commands need, so that forked processes have it, and return a new folder and what runs begin with."""
    for command in ("distill", "finetune", "cache", "glue", "export"):
        importlib.import_module(f"kdfeatures.cli.commands.{command}")
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    (folder / "workspace").mkdir()
    setup = os.fork()  # not here: threads of a model that was trained are no good to fork
    if not setup:
        try:
            made_workspace(folder / "workspace")
            os._exit(0)
        finally:
            os._exit(1)
    assert ended(setup) == 0
    return folder, Workspace(folder / "workspace")


def run(kills: int, words: list[str]) -> bool:
    """Print the table; return whether all ended well."""
    folder, workspace = prepared()
    chosen = [kind for kind in kinds(workspace) if all(word in kind.name for word in words)]
    of_all = sum(kind.share for kind in chosen)
    every: list[str] = []
    print("| run | at an instant | in a write | ended otherwise |\n|---|---:|---:|---:|", flush=True)
    for kind in chosen:
        place = folder / kind.name.replace(", ", "-").replace(" ", "-")
        place.mkdir()
        instants, writes, faults = attack(kind, place, max(1, round(kills * kind.share / of_all)))
        print(f"| {kind.name} | {instants} | {writes} | {len(faults)} |", flush=True)
        print(*faults, sep="\n", end="\n" if faults else "", file=sys.stderr, flush=True)
        every += faults
    if not every:
        shutil.rmtree(folder)
    return not every


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else KILLS
    sys.exit(not run(number, sys.argv[2:]))
