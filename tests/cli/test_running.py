"""``nllgen run`` and the ways to stop it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nllgen.launch.lease import LeaseManager
from nllgen.launch.tasks import read_attempts
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task, tasks_of
from tests.cli.process import NLLGEN, TINY, frozen

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
LONG = TINY.replace("steps: 2,", "steps: 200000,").replace("eval_every: 1", "eval_every: 200000")


@pytest.fixture
def folder(tmp_path: Path) -> StudyDir:
    return StudyDir(frozen(tmp_path, LONG))


@pytest.fixture
def task(folder: StudyDir) -> Task:
    return tasks_of(folder.read_study(), folder)[0]


@pytest.fixture
def running(folder: StudyDir, task: Task, tmp_path: Path, mnist_assets: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a long cell of a study that was stopped before, and yield once it trains."""
    (tmp_path / "tiny.yaml").write_text(LONG)
    folder.stop.touch()
    words = ("--grid", str(tmp_path / "tiny.yaml"), "--cell", task.name, "--root", str(tmp_path), "--threads", "1")
    env = os.environ | {"NLLGEN_ASSETS": str(mnist_assets)}
    pipe = subprocess.PIPE
    give_up = time.monotonic() + 300
    with subprocess.Popen(
        [NLLGEN, "run", *words], env=env, stdout=pipe, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            while not task.task_dir.progress.exists():
                assert process.poll() is None, process.communicate()[0]
                assert time.monotonic() < give_up
                time.sleep(0.1)
            yield process
        finally:
            process.kill()


def last_of(process: subprocess.Popen[str], task: Task) -> tuple[int, str, str]:
    output, _ = process.communicate(timeout=300)
    assert "Traceback" not in output
    line = read_attempts(task.attempts)[-1]
    return process.returncode, line["event"], line["kind"]


@pytest.mark.parametrize("whole", [True, False])
def test_it_stops_when_its_study_or_its_cell_is_cancelled(
    running: subprocess.Popen[str], folder: StudyDir, task: Task, whole: bool
) -> None:
    cells = [] if whole else [task.name]
    subprocess.run([NLLGEN, "cancel", str(folder.path), *cells], check=True, capture_output=True)
    assert last_of(running, task) == (75, "stopped", "asked")


def test_it_stops_when_its_lease_is_taken_over(running: subprocess.Popen[str], task: Task) -> None:
    task.lease.unlink()
    assert LeaseManager(job="7_0").take(task.lease) is not None
    assert last_of(running, task) == (75, "stopped", "asked")
    assert not task.task_dir.result.exists()
