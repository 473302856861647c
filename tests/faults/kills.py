"""A study on the devcluster whose processes are killed at random: nothing is lost, doubled or changed by it."""

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

from nllgen.storage.result import read_head
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
_RERUNS = 12  # a cell that was killed more often than its policy allows waits for the next submission


@dataclass
class Kills:
    """A study that is run again and again, each time with further kills.

    Attributes:
        base: an empty folder.
        environ: of every command; names the cluster and the assets.
        chance: of everything that is random here.
        num_seeds: of the study's cells; each has two cells.
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
        """What every other run must end with."""
        (self.base / "killed.yaml").write_text(GRID.replace("SEEDS", str(self.num_seeds)))
        (self.base / "profile.yaml").write_text(PROFILE)
        self._run("submit", *self._grid("calm"), "--local", "--workers", "2", "--wait")
        folder = self._folder("calm")
        for name, command in (("collector", self._collect(folder)), ("report", self._report(folder))):
            begin = time.monotonic()
            self._run(*command)
            self._seconds[name] = time.monotonic() - begin
        begin = time.monotonic()
        self._run("submit", *self._grid("calm"), "--local", "--workers", "2")
        self._seconds["submitter"] = 2 * (time.monotonic() - begin)
        self.calm = science(folder)

    def round(self, name: str, num_kills: int, until: float) -> int:
        """A fresh study with so many kills, or as many as come before its end; then it is finished and checked."""
        folder, begun = self._folder(name), self.kills.total()
        self._inodes.clear()
        while self._is_open(folder) and self.kills.total() - begun < num_kills and time.monotonic() < until:
            self._keep_submitting(name)
            self._kill_one(folder)
            self._look(folder)
            time.sleep(self.chance.uniform(0.0, 0.6))
        self._finish(name, folder)
        self.published += len(self._inodes)
        return self.kills.total() - begun

    def stop(self) -> None:
        """Leave no process and no job behind."""
        for process in filter(None, (self._submitter, *(process for process, _ in self._doomed.values()))):
            _kill_group(process)
        for folder in self.base.glob("*/killed"):
            with contextlib.suppress(subprocess.CalledProcessError):
                self._run("cancel", str(folder), "--now")

    def _is_open(self, folder: StudyDir) -> bool:
        return len(science(folder)) < len(self.calm)

    def _keep_submitting(self, name: str) -> None:
        """Somebody who submits again as soon as nothing is under way; its end may be a kill."""
        if self._submitter is not None and self._submitter.poll() is None:
            return
        if not self._is_queued() or self.chance.random() < 0.2:
            self._submitter = self._start("submit", *self._grid(name), *self._cluster())

    def _kill_one(self, folder: StudyDir) -> None:
        fewest = min(self.kills[kind] for kind in KINDS)  # workers live too short a time for chance alone
        kind = self.chance.choice([kind for kind in KINDS if self.kills[kind] <= fewest + 2])
        if kind in ("supervisor", "worker"):
            words = ("nllgen\0worker",) if kind == "worker" else ("submitit.core._submit",)
            live = processes(*words, str(folder.path))
            if live and _kill(self.chance.choice(live)):
                self.kills[kind] += 1
        elif kind == "submitter":
            self._doom(kind, self._submitter)
        elif folder.is_frozen and kind not in self._doomed:
            command = self._collect(folder) if kind == "collector" else self._report(self._folder("calm"))
            self._doom(kind, self._start(*command))
        for name, (process, at) in list(self._doomed.items()):
            if process.poll() is not None or time.monotonic() > at:
                self.kills[name] += _kill_group(process)
                del self._doomed[name]

    def _doom(self, kind: str, process: subprocess.Popen[bytes] | None) -> None:
        """It is killed at some moment of its work, while others are."""
        if process is not None and process.poll() is None and kind not in self._doomed:
            self._doomed[kind] = (process, time.monotonic() + self.chance.uniform(0.1, self._seconds[kind]))

    def _look(self, folder: StudyDir) -> None:
        """A result that was published is never replaced."""
        for path in folder.path.glob("*/*/result.h5"):
            inode = path.stat().st_ino
            assert self._inodes.setdefault(path.parent.name, inode) == inode, f"{path} was published twice"

    def _finish(self, name: str, folder: StudyDir) -> None:
        for process, _ in self._doomed.values():
            process.wait()
        self._doomed.clear()
        for _ in range(_RERUNS):
            subprocess.run(
                self._argv("submit", *self._grid(name), *self._cluster(), "--wait"),
                env=self.environ,
                capture_output=True,
            )
            self._look(folder)
            if not self._is_open(folder):
                break
        found = science(folder)
        assert found == self.calm, f"{name} ends with {found}, an undisturbed run with {self.calm}"
        self._run(*self._collect(folder))
        self._run(*self._report(folder))
        file = read_study(folder.path / "study.h5")
        assert set(file.cells["outcome"]) == {"done"}
        self._look(folder)

    def _folder(self, name: str) -> StudyDir:
        return StudyDir(self.base / name / "killed")

    def _grid(self, name: str) -> tuple[str, ...]:
        return ("--grid", str(self.base / "killed.yaml"), "--root", str(self.base / name))

    def _cluster(self) -> tuple[str, ...]:
        return ("--profile", str(self.base / "profile.yaml"), "--workers", str(_SLOTS))

    def _collect(self, folder: StudyDir) -> tuple[str, ...]:
        return ("collect", str(folder.path), *["--allow-missing"] * self._is_open(folder))

    def _report(self, folder: StudyDir) -> tuple[str, ...]:
        return ("report", str(folder.path / "study.h5"), "--out", str(folder.path / "report"))

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


def science(folder: StudyDir) -> dict[str, str]:
    """Task → digest of what it found."""
    paths = folder.path.glob("*/*/result.h5")
    return {path.parent.name: str(read_head(path)["science_sha256"]) for path in paths}


def processes(*words: str) -> list[int]:
    """Live processes with all of these on their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = path.read_bytes().decode(errors="replace")
            if all(word in line for word in words):
                found.append(int(path.parent.name))
    return found


def _kill(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False


def _kill_group(process: subprocess.Popen[bytes]) -> bool:
    """Whether there was somebody to kill."""
    if process.poll() is not None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return True
