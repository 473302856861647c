"""Studies on a real cluster are looked at, stopped and tried again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from devcluster import Cluster, wait_for

from nllgen.launch.cluster import live_tasks
from nllgen.launch.tasks import read_attempts
from nllgen.store.study_dir import StudyDir

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
PROFILE = "partition: short\ntime_min: 10\nmemory_gb: 1.0\ncpus: 1\narray_parallelism: {at_once}\nsignal_s: 60\n"
GRID = """
name: watched
metrics: {{frechet: [], num_samples: 16, num_train_eval: 16, num_kept: 4}}
cells:
  - data: {{source: mnist, image_size: 7, num_train: 500, num_val: 100, num_test: 100}}
    flow: {{width: 2, blocks: 0, scales: 1}}
    paradigm: {{name: nll, steps: {steps}, batch_size: 16, eval_every: {steps}}}
    precision: fp32
    seed: {{range: [0, {cells}]}}
"""


@dataclass
class Study:
    """A study under a root of its own, and the commands on it."""

    root: Path
    cluster: Cluster
    assets: Path

    @property
    def folder(self) -> StudyDir:
        return StudyDir(self.root / "watched")

    def env(self) -> dict[str, str]:
        return self.cluster.env | {"NLLGEN_ASSETS": str(self.assets)}

    def run(self, *words: str, code: int = 0, **extra: str) -> str:
        command = [sys.executable, "-m", "nllgen", *words]
        done = subprocess.run(command, env=self.env() | extra, capture_output=True, text=True, timeout=200)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def submit(self, *, steps: int, cells: int, at_once: int = 1) -> None:
        grid, profile = self.root / "watched.yaml", self.root / "here.yaml"
        grid.write_text(GRID.format(steps=steps, cells=cells))
        profile.write_text(PROFILE.format(at_once=at_once))
        self.run("submit", "--grid", str(grid), "--root", str(self.root), "--profile", str(profile))

    def rows(self, **extra: str) -> list[dict[str, object]]:
        command = [sys.executable, "-m", "nllgen", "status", "--json", str(self.folder.path)]
        done = subprocess.run(command, env=self.env() | extra, capture_output=True, text=True, timeout=60)
        rows: list[dict[str, object]] = json.loads(done.stdout)["tasks"]
        return rows

    def in_state(self, state: str) -> list[str]:
        return [str(row["name"]) for row in self.rows() if row["state"] == state]

    def jobs(self) -> tuple[str, ...]:
        return live_tasks(self.folder, "watched").ids

    def wait_running(self) -> str:
        """The first cell that a worker is at."""
        wait_for(lambda: any(row["state"] == "running" and row["step"] for row in self.rows()), 150, "a cell to train")
        return self.in_state("running")[0]


@pytest.fixture
def study(cluster: Cluster, tmp_path: Path, mnist_assets: Path) -> Iterator[Study]:
    """Nothing was submitted yet; whatever is left at the end is cancelled."""
    found = Study(tmp_path, cluster, mnist_assets)
    yield found
    if found.folder.is_frozen and (jobs := found.jobs()):
        found.folder.stop.touch()
        cluster.run("scancel", *jobs, check=False)
        wait_for(lambda: not found.jobs(), 90, "jobs to end")


def test_a_cancelled_study_has_nothing_queued_and_its_running_cell_has_saved_its_state(study: Study) -> None:
    study.submit(steps=200_000, cells=3)
    running = study.wait_running()
    assert len(study.in_state("queued")) == 2
    told = study.run("cancel", str(study.folder.path))
    assert running in told
    wait_for(lambda: not study.jobs(), 90, "the jobs to end")
    last = read_attempts(study.folder.cell(running).attempts)[-1]
    assert (last["event"], last["kind"], last["saved"] > 0) == ("stopped", "asked", True)


def test_one_cancelled_cell_stops_and_the_next_goes_on(study: Study) -> None:
    study.submit(steps=200_000, cells=3)
    running = study.wait_running()
    waits, next_one = study.in_state("queued")
    study.run("cancel", str(study.folder.path), running, waits)
    wait_for(lambda: study.in_state("running") == [next_one], 120, "the third cell to run")
    assert sorted(study.in_state("stopped")) == sorted([running, waits])


def test_what_a_retry_sends_runs_to_its_end_and_a_log_is_followed_until_then(study: Study) -> None:
    study.submit(steps=1500, cells=1)
    wait_for(lambda: study.in_state("running") or study.in_state("queued"), 60)
    (name,) = [str(row["name"]) for row in study.rows()]
    study.run("cancel", str(study.folder.path), name)
    wait_for(lambda: study.in_state("stopped") and not study.jobs(), 120, "it to stop")
    assert "nothing to try again" in study.run("retry", str(study.folder.path), "--kind", "node-failure")
    assert name in study.run("retry", str(study.folder.path), "--kind", "asked")
    assert "1500/1500" in study.run("logs", "-f", str(study.folder.path), name[:8])
    assert study.in_state("done") == [name]
    assert "submitit" in study.run("logs", "--job", str(study.folder.path), name)


def test_status_needs_no_sacct(study: Study, tmp_path: Path) -> None:
    study.submit(steps=200_000, cells=2)
    running = study.wait_running()
    broken = tmp_path / "bin"
    broken.mkdir()
    (broken / "sacct").write_text("#!/bin/sh\nexit 1\n")
    (broken / "sacct").chmod(0o755)
    rows = study.rows(PATH=f"{broken}{os.pathsep}{os.environ['PATH']}")
    assert [row["name"] for row in rows if row["state"] == "running"] == [running]
