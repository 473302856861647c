"""Tiny studies on the devcluster, as the tests of this folder see them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nllgen.launch.tasks import read_attempts
from nllgen.storage.head import read_head
from nllgen.storage.study_dir import StudyDir
from tests.cluster.devcluster import PATIENCE_S, Cluster, PlainUser, wait_for

GRID = """
name: NAME
truth:
  data: {source: mnist, image_size: 7, num_train: 500, num_val: 50, num_test: 50}
  flow: {width: 2, blocks: 0, scales: 1}
  paradigm: {name: nll, steps: 10, batch_size: 16, eval_every: 5}
dataset: {num_train: 200, num_val: 50, num_test: 50, num_entropy: 50}
metrics: {every: [], final: [divergence], frechet: [], num_samples: 50, num_train_eval: 50, num_kept: 4}
cells:
  - data: {source: synthetic, num_train: 100, num_val: 50, num_test: 50}
    degree: W
    paradigm: {name: nll, steps: STEPS, batch_size: 16, eval_every: 100000}
    seed: SEEDS
"""
REAL = """
name: NAME
metrics: {every: [], final: [divergence], frechet: [], num_samples: 50, num_train_eval: 50, num_kept: 4}
cells:
  - data: {source: mnist, image_size: 7, num_train: 500, num_val: 50, num_test: 50}
    flow: {width: 2, blocks: 0, scales: 1}
    paradigm: {name: nll, steps: STEPS, batch_size: 16, eval_every: 100000}
    seed: SEEDS
"""
STEPS = 600  # of a cell that something happens to while it trains: a few seconds
PROFILE = {"partition": "short", "time_min": 10, "memory_gb": 1.0, "cpus": 1, "signal_s": 20}


def wait(condition: Callable[[], object], what: str, every_s: float = 0.2) -> None:
    wait_for(condition, PATIENCE_S, what, every_s)


@dataclass
class OnCluster:
    """A study in a root of its own, and the commands on it."""

    cluster: Cluster
    base: Path
    assets: Path
    name: str
    seeds: int = 1
    steps: int = 20
    text: str = GRID
    profile: dict[str, Any] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)
    user: PlainUser | None = None
    python: str = sys.executable
    cwd: Path | None = None  # that commands are run in; the study's base where None
    published: tuple[int, int] = (0, 0)  # inode and time of a result, as a test saw it first

    def __post_init__(self) -> None:
        self.base.mkdir(parents=True, exist_ok=True)
        text = self.text.replace("NAME", self.name).replace("STEPS", str(self.steps))
        self.grid.write_text(text.replace("SEEDS", str(list(range(self.seeds)))))
        self.profile_file.write_text(json.dumps(PROFILE | self.profile))

    @property
    def grid(self) -> Path:
        return self.base / f"{self.name}.yaml"

    @property
    def profile_file(self) -> Path:
        return self.base / f"{self.name}-profile.yaml"

    @property
    def root(self) -> Path:
        return self.base / "runs"

    @property
    def folder(self) -> StudyDir:
        return StudyDir(self.root / self.name)

    def command(self, *options: str) -> list[str]:
        where = ["--grid", str(self.grid), "--root", str(self.root)]
        return [self.python, "-m", "nllgen", "submit", *where, *(options or ("--profile", str(self.profile_file)))]

    def start(self, *more: str, options: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        command = [*self.command(*options), *more]
        return subprocess.Popen(
            self.user.command(*command) if self.user else command,
            env=self.cluster.env | {"NLLGEN_ASSETS": str(self.assets)} | self.environ,
            cwd=self.cwd or self.base,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            umask=0o022,
            start_new_session=True,
        )

    def submit(self, *more: str, options: tuple[str, ...] = (), code: int = 0) -> str:
        process = self.start(*more, options=options)
        output, _ = process.communicate(timeout=500)
        assert process.returncode == code, output
        return output

    def run_locally(self) -> None:
        self.submit("--wait", options=("--local", "--workers", "2"))

    def queue(self, *options: str) -> list[list[str]]:
        """Return live elements of the study: id, name of the job without its prefix, state."""
        lines = self.cluster.squeue("-r", "-o", "%i|%j|%T", *options)
        rows = [line.split("|") for line in lines]
        begin = f"nllgen:{self.name}:"
        return [[row[0], row[1].removeprefix(begin), row[2]] for row in rows if row[1].startswith(begin)]

    def cell_job(self) -> str:
        """Return the id of the only element that has cells."""
        ((job, _, _),) = [row for row in self.queue() if row[1].endswith("cells0")]
        return job

    def wait_end(self) -> None:
        wait(lambda: not self.queue(), f"the jobs of {self.name} end", every_s=0.5)

    def cancel(self) -> None:
        ids = sorted({row[0].partition("_")[0] for row in self.queue()})
        if ids:
            self.cluster.run("scancel", *ids, check=False)
            self.wait_end()

    def job_states(self) -> dict[str, set[str]]:
        """Return job number → states of its elements in the controller's memory, for every job that was sent."""
        files = self.folder.submitit.glob("*/jobs.jsonl")
        numbers = [str(line["job"]) for path in files for line in read_attempts(path)]
        return {number: self.cluster.states(number) for number in numbers}

    def science(self) -> dict[str, str]:
        results = self.folder.path.glob("*/*/result.h5")
        return {path.parent.name: read_head(path)["science_sha256"] for path in results}

    def cells(self) -> list[str]:
        return [cell.id for cell in self.folder.read_study().cells]

    def attempts(self, cell: str) -> list[dict[str, Any]]:
        return read_attempts(self.folder.cell(cell).attempts)

    def ends(self, cell: str) -> list[str]:
        """Return the ends of a cell's attempts in order: done, or the kind."""
        lines = self.attempts(cell)
        return [str(line.get("kind", line["event"])) for line in lines if line["event"] != "started"]

    def is_training(self, cell: str, times: int = 1) -> bool:
        """Return True if a cell trains, in its attempt number ``times`` or a later one."""
        path = self.folder.cell(cell).log
        lines = self.attempts(cell)
        begun = sum(line["event"] == "started" for line in lines)
        shown = path.read_text() if path.exists() else ""
        return begun >= times and lines[-1]["event"] == "started" and len(started(shown)) >= times

    def workers(self) -> list[int]:
        """Return the live worker processes of this study."""
        return processes("nllgen\0worker", str(self.folder.path))

    def workers_of(self, cell: str) -> list[int]:
        """Return the workers that write the cell's log."""
        log = self.folder.cell(cell).log
        return [pid for pid in self.workers() if has_open(pid, log)]

    def hold(self, cell: str, times: int = 1) -> list[int]:
        """Stop the worker of a cell as soon as it trains, in an attempt that is at least so many-th; its id.

        What is to happen while it trains can then take its time, on a busy machine too.
        """
        return self.hold_all([cell], times)[0]

    def hold_all(self, cells: list[str], times: int = 1) -> list[list[int]]:
        """Hold the worker of each of these cells, in the order in which they train."""
        held: dict[str, list[int]] = {}

        def all_are_held() -> bool:
            for cell in cells:
                if cell not in held and self.is_training(cell, times) and (pids := self.workers_of(cell)):
                    kill(pids, signal.SIGSTOP)
                    held[cell] = pids
            return len(held) == len(cells)

        wait(all_are_held, f"{self.name} trains for the {times}. time", every_s=0.05)
        done = [cell for cell in cells if self.folder.cell(cell).result.exists()]
        assert not done, f"{self.name}: {done} were done before they could be held"
        return [held[cell] for cell in cells]

    def crawl(self, cell: str, held: list[int]) -> None:
        """Let held workers run a fifth of the time until their attempt has ended: what is to end it can come late."""
        num_ends, give_up = len(self.ends(cell)), time.monotonic() + PATIENCE_S
        while len(self.ends(cell)) == num_ends:
            assert time.monotonic() < give_up, f"{self.name}: nothing ends the attempt"
            go_on(held)
            time.sleep(0.1)
            with contextlib.suppress(ProcessLookupError):
                kill(held, signal.SIGSTOP)
            time.sleep(0.4)
        go_on(held)


def started(log: str) -> list[str]:
    """Return a line for each start or resume of a cell's training."""
    return [line for line in log.splitlines() if "resuming at" in line or "step 0 raw" in line]


def processes(*words: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if all(word in line for word in words):
            found.append(int(path.parent.name))
    return found


def has_open(pid: int, path: Path) -> bool:
    try:
        return any(file.resolve() == path.resolve() for file in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:  # it has ended meanwhile
        return False


def is_asked_to_stop(pid: int) -> bool:
    """Return True if the supervisor of a worker has closed the worker's standard input, or the worker has ended."""
    try:
        pipe = Path(f"/proc/{pid}/fd/0").readlink()
        parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
        return pipe not in [file.readlink() for file in Path(f"/proc/{parent}/fd").iterdir()]
    except OSError:
        return not Path(f"/proc/{pid}").exists()


def go_on(pids: list[int]) -> None:
    """Continue those that were held and have not ended since."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def kill(pids: list[int], number: signal.Signals = signal.SIGKILL) -> None:
    for pid in pids:
        os.kill(pid, number)
