"""A worker as a process of its own, on real MNIST: killed anywhere and started again, it ends with the same bits.

It is started as a supervisor starts it, or forked where many are needed.
"""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nllgen.storage.result import read_result
from nllgen.storage.study_dir import StudyDir, TaskDir
from nllgen.study.config import Study
from nllgen.study.run_options import RunOptions, TaskAnswer, TaskOrder
from tests.forked import Forked

pytestmark = pytest.mark.usefixtures("quick_critics")
Worker = Forked | subprocess.Popen[bytes]


def command(study_dir: StudyDir, options: RunOptions) -> list[str]:
    """A worker's command line, after ``nllgen``."""
    return ["worker", str(study_dir.path), "--options", options.to_json()]


@contextlib.contextmanager
def ordered(study_dir: StudyDir, task: str, assets: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker that was ordered one task; its standard input is closed at the end of the block, where it ends."""
    words = [sys.executable, "-m", "nllgen", *command(study_dir, RunOptions(assets, "cpu"))]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        order(worker, study_dir, task)
        yield worker
        close_input(worker)
        worker.wait(timeout=120)


def order(worker: Worker, study_dir: StudyDir, task: str, attempt: str = "a", log: str = "log.txt") -> None:
    assert worker.stdin is not None
    worker.stdin.write(TaskOrder(task, attempt, log=str(study_dir.path / log)).to_json().encode() + b"\n")
    worker.stdin.flush()


def close_input(worker: Worker) -> None:
    assert worker.stdin is not None
    worker.stdin.close()


def answer(worker: Worker) -> TaskAnswer:
    """Its next answer."""
    assert worker.stdout is not None
    return TaskAnswer.from_json(worker.stdout.readline())


def written(task_dir: TaskDir) -> list[int]:
    """When the checkpoints were written; one that is replaced meanwhile counts as gone."""
    times = []
    for path in task_dir.checkpoints():
        with contextlib.suppress(FileNotFoundError):
            times.append(path.stat().st_mtime_ns)
    return times


def wait_for_progress(worker: Forked, task_dir: TaskDir) -> None:
    """Wait until a checkpoint is written anew, or the worker ends."""
    before = written(task_dir)
    while worker.returncode is None and written(task_dir) == before:
        time.sleep(0.01)


def test_closing_standard_input_stops_the_worker_with_its_state_saved(
    prepared: StudyDir, study: Study, mnist_assets: Path
) -> None:
    cell = study.cells[0]
    task_dir = prepared.cell(cell.id)
    with ordered(prepared, cell.id, mnist_assets) as worker:
        close_input(worker)
        assert answer(worker).exit_code == 75
    assert worker.returncode == 75
    assert len(task_dir.checkpoints()) == 1
    assert not task_dir.result.exists()


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 2])
def test_killed_at_random_moments_it_ends_with_the_same_bits(
    done: StudyDir, prepared: StudyDir, study: Study, mnist_assets: Path, index: int
) -> None:
    cell = study.cells[index]
    task_dir = prepared.cell(cell.id)
    undisturbed = read_result(done.cell(cell.id).result)
    options = RunOptions(mnist_assets, "cpu", checkpoint_steps=3)
    rng, kills = random.Random(index), 0
    while not task_dir.result.exists():
        with Forked(command(prepared, options)) as worker:
            order(worker, prepared, cell.id, attempt=f"a{random.random()}")
            if kills < 4:
                wait_for_progress(worker, task_dir)
                time.sleep(rng.random() * 0.3)
                worker.kill()
                kills += 1
            worker.stdout.readline()
    again = read_result(task_dir.result)
    assert kills >= 1
    assert again.attrs["science_sha256"] == undisturbed.attrs["science_sha256"]
    assert again.attrs["model_sha256"] == undisturbed.attrs["model_sha256"]
    assert not list(task_dir.path.glob("*.part"))
    assert not task_dir.checkpoints()


def test_an_unknown_task_is_refused_without_a_traceback_and_the_next_is_left_to_a_new_process(
    prepared: StudyDir, mnist_assets: Path
) -> None:
    with ordered(prepared, "0" * 16, mnist_assets) as worker:
        with contextlib.suppress(BrokenPipeError):
            order(worker, prepared, "truth")
        refusal = answer(worker)
        assert worker.stdout is not None
        assert worker.stdout.readline() == b""
    assert (refusal.exit_code, "has no cell" in refusal.reason, worker.returncode) == (2, True, 2)
    log = (prepared.path / "log.txt").read_text()
    assert "has no cell" in log
    assert "Traceback" not in log


def test_a_line_that_is_no_order_ends_the_worker(prepared: StudyDir, mnist_assets: Path) -> None:
    with Forked(command(prepared, RunOptions(mnist_assets, "cpu"))) as worker:
        worker.stdin.write(b'{"task": "truth", "attempt": "a", "colour": "red"}\n')
        worker.stdin.flush()
        assert worker.stdout.readline() == b""
    assert worker.returncode == 2


def test_options_of_another_version_are_refused(prepared: StudyDir) -> None:
    with Forked(["worker", str(prepared.path), "--options", '{"assets": "a", "colour": "red"}']) as worker:
        pass
    assert worker.returncode == 2


def test_a_device_that_does_not_exist_is_an_environment_error(
    prepared: StudyDir, study: Study, mnist_assets: Path
) -> None:
    with Forked(command(prepared, RunOptions(mnist_assets, "cuda:7"))) as worker:
        order(worker, prepared, study.cells[0].id)
        refusal = answer(worker)
    assert (refusal.exit_code, "cuda:7" in refusal.reason) == (3, True)


def test_one_worker_runs_one_task_after_another_each_with_its_own_log(prepared: StudyDir, mnist_assets: Path) -> None:
    with ordered(prepared, "truth", mnist_assets) as worker:
        assert answer(worker).exit_code == 0
        order(worker, prepared, "dataset", "b1", "other.txt")
        assert answer(worker) == TaskAnswer(0, attempt="b1")
    assert worker.returncode == 0
    assert "dataset.h5" in (prepared.path / "other.txt").read_text()
