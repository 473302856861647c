"""Random SIGKILLs of a study's processes on the devcluster, and checks that no result is lost, doubled or changed."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nllgen.storage.head import read_head
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.study_file import read_study

GRID = """
name: killed
truth:
  data: {source: mnist, image_size: 7, num_val: 50, num_test: 50}
  flow: {width: 2, blocks: 0, scales: 1}
  paradigm: {name: nll, steps: 50, batch_size: 16, eval_every: 25}
dataset: {num_train: 400, num_val: 50, num_test: 50, num_entropy: 50}
metrics: {every: [], final: [divergence], frechet: [], num_samples: 50, num_train_eval: 50, num_kept: 4}
cells:
  - data: {source: synthetic, num_train: 100, num_val: 50, num_test: 50}
    degree: W
    paradigm: {name: [nll, nsgan], steps: 400, batch_size: 16, eval_every: 100000}
    seed: {range: [0, SEEDS]}
"""
PROFILE = "{partition: short, time_min: 10, memory_gb: 1.0, cpus: 1, signal_s: 20}"
KINDS = ("submitter", "supervisor", "worker", "collector", "report")
_SLOTS = 3
_RERUNS = 12  # a cell that was killed more often than its policy allows needs another submission


@dataclass
class Kills:
    """A study that is run repeatedly, each time with further kills.

    Attributes:
        base: an empty directory.
        environ: environment of every command, which names the cluster and the assets.
        chance: source of all random choices.
        num_seeds: seeds of the study; each has two cells.
    """

    base: Path
    environ: Mapping[str, str]
    chance: random.Random
    num_seeds: int = 4
    kills: Counter[str] = field(default_factory=Counter)
    published: int = 0
    calm: dict[str, str] = field(default_factory=dict)
    _inodes: dict[str, int] = field(default_factory=dict)
    _submitter: subprocess.Popen[bytes] | None = None
    _seconds: dict[str, float] = field(default_factory=dict)
    _doomed: dict[str, tuple[subprocess.Popen[bytes], float]] = field(default_factory=dict)

    def undisturbed(self) -> None:
        """Run the study without kills; its results are those that every other run must have."""
        (self.base / "killed.yaml").write_text(GRID.replace("SEEDS", str(self.num_seeds)))
        (self.base / "profile.yaml").write_text(PROFILE)
        self._run("submit", *self._grid("calm"), "--local", "--workers", "2", "--wait")
        study_dir = self._study_dir("calm")
        for name, command in (("collector", self._collect(study_dir)), ("report", self._report(study_dir))):
            begin = time.monotonic()
            self._run(*command)
            self._seconds[name] = time.monotonic() - begin
        begin = time.monotonic()
        self._run("submit", *self._grid("calm"), "--local", "--workers", "2")
        self._seconds["submitter"] = 2 * (time.monotonic() - begin)
        self.calm = science(study_dir)

    def round(self, name: str, num_kills: int, until: float) -> int:
        """Run a new study with at most ``num_kills`` kills, finish it and check it; return the number of kills."""
        study_dir, begun = self._study_dir(name), self.kills.total()
        self._inodes.clear()
        while self._is_open(study_dir) and self.kills.total() - begun < num_kills and time.monotonic() < until:
            self._keep_submitting(name)
            self._kill_one(study_dir)
            self._check_inodes(study_dir)
            time.sleep(self.chance.uniform(0.0, 0.6))
        self._finish(name, study_dir)
        self.published += len(self._inodes)
        return self.kills.total() - begun

    def stop(self) -> None:
        """End all processes and jobs."""
        for process in filter(None, (self._submitter, *(process for process, _ in self._doomed.values()))):
            _kill_group(process)
        for study_dir in self.base.glob("*/killed"):
            with contextlib.suppress(subprocess.CalledProcessError):
                self._run("cancel", str(study_dir), "--now")

    def _is_open(self, study_dir: StudyDir) -> bool:
        return len(science(study_dir)) < len(self.calm)

    def _keep_submitting(self, name: str) -> None:
        """Submit the study again when no job of it is queued, and sometimes while one is."""
        if self._submitter is not None and self._submitter.poll() is None:
            return
        if not self._is_queued() or self.chance.random() < 0.2:
            self._submitter = self._start("submit", *self._grid(name), *self._cluster())

    def _kill_one(self, study_dir: StudyDir) -> None:
        fewest = min(self.kills[kind] for kind in KINDS)  # workers are too short-lived to be hit by chance alone
        kind = self.chance.choice([kind for kind in KINDS if self.kills[kind] <= fewest + 2])
        if kind in ("supervisor", "worker"):
            words = ("nllgen\0worker",) if kind == "worker" else ("submitit.core._submit",)
            live = processes(*words, str(study_dir.path))
            if live and _kill(self.chance.choice(live)):
                self.kills[kind] += 1
        elif kind == "submitter":
            self._doom(kind, self._submitter)
        elif study_dir.is_frozen and kind not in self._doomed:
            command = self._collect(study_dir) if kind == "collector" else self._report(self._study_dir("calm"))
            self._doom(kind, self._start(*command))
        for name, (process, at) in list(self._doomed.items()):
            if process.poll() is not None or time.monotonic() > at:
                self.kills[name] += _kill_group(process)
                del self._doomed[name]

    def _doom(self, kind: str, process: subprocess.Popen[bytes] | None) -> None:
        """Choose a random moment at which a process will be killed."""
        if process is not None and process.poll() is None and kind not in self._doomed:
            self._doomed[kind] = (process, time.monotonic() + self.chance.uniform(0.1, self._seconds[kind]))

    def _check_inodes(self, study_dir: StudyDir) -> None:
        """Check that no published result was replaced."""
        for path in study_dir.path.glob("*/*/result.h5"):
            inode = path.stat().st_ino
            assert self._inodes.setdefault(path.parent.name, inode) == inode, f"{path} was published twice"

    def _finish(self, name: str, study_dir: StudyDir) -> None:
        for process, _ in self._doomed.values():
            process.wait()
        self._doomed.clear()
        for _ in range(_RERUNS):
            subprocess.run(
                self._argv("submit", *self._grid(name), *self._cluster(), "--wait"),
                env=self.environ,
                capture_output=True,
            )
            self._check_inodes(study_dir)
            if not self._is_open(study_dir):
                break
        digests = science(study_dir)
        assert digests == self.calm, f"{name} ends with {digests}, an undisturbed run with {self.calm}"
        self._run(*self._collect(study_dir))
        self._run(*self._report(study_dir))
        file = read_study(study_dir.path / "study.h5")
        assert set(file.cells["outcome"]) == {"done"}
        self._check_inodes(study_dir)

    def _study_dir(self, name: str) -> StudyDir:
        return StudyDir(self.base / name / "killed")

    def _grid(self, name: str) -> tuple[str, ...]:
        return ("--grid", str(self.base / "killed.yaml"), "--root", str(self.base / name))

    def _cluster(self) -> tuple[str, ...]:
        return ("--profile", str(self.base / "profile.yaml"), "--workers", str(_SLOTS))

    def _collect(self, study_dir: StudyDir) -> tuple[str, ...]:
        return ("collect", str(study_dir.path), *["--allow-missing"] * self._is_open(study_dir))

    def _report(self, study_dir: StudyDir) -> tuple[str, ...]:
        return ("report", str(study_dir.path / "study.h5"), "--out", str(study_dir.path / "report"))

    def _argv(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "nllgen", *words]

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        quiet = subprocess.DEVNULL
        return subprocess.Popen(
            self._argv(*words), env=self.environ, stdout=quiet, stderr=quiet, start_new_session=True
        )

    def _run(self, *words: str) -> None:
        done = subprocess.run(self._argv(*words), env=self.environ, capture_output=True, text=True)
        if done.returncode:
            raise AssertionError(f"nllgen {' '.join(words)}: {done.stdout}{done.stderr}")

    def _is_queued(self) -> bool:
        command = ["squeue", "--noheader", "-o", "%j"]
        listed = subprocess.run(command, env=self.environ, capture_output=True, text=True, check=True).stdout
        return "nllgen:killed" in listed


def science(study_dir: StudyDir) -> dict[str, str]:
    """Return the science digest of each task's result."""
    paths = study_dir.path.glob("*/*/result.h5")
    return {path.parent.name: str(read_head(path)["science_sha256"]) for path in paths}


def processes(*words: str) -> list[int]:
    """Return the ids of live processes whose command line has all of these words."""
    pids = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = path.read_bytes().decode(errors="replace")
            if all(word in line for word in words):
                pids.append(int(path.parent.name))
    return pids


def _kill(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False


def _kill_group(process: subprocess.Popen[bytes]) -> bool:
    """Kill a process group; return whether its leader was running."""
    if process.poll() is not None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return True
