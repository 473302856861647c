"""Leftover files of other processes and wrong clocks: a study loses nothing and stays fast."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.dummy_worker import small_result
from nllgen.launch.attempt import Attempt
from nllgen.launch.freeze import freeze
from nllgen.launch.lease import Lease, LeaseManager
from nllgen.storage.result import read_result, write_result
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task, tasks_of
from tests.faults.schedules import played_study
from tests.faults.work import work_directory

MANY = 10_000
GONE = json.dumps({"host": "elsewhere", "process": "1:1", "nonce": "x"})


@pytest.fixture
def memory() -> Iterator[Path]:
    """A directory in memory, so that the times are the program's and not a disk's."""
    with work_directory() as path:
        yield path


@pytest.fixture
def study_dir(memory: Path) -> StudyDir:
    return freeze(played_study(), memory)[0]


@pytest.fixture
def task(study_dir: StudyDir) -> Task:
    first = tasks_of(played_study(), study_dir)[0]
    first.task_dir.path.mkdir(parents=True)
    return first


def take(path: Path) -> Lease:
    lease = LeaseManager().take(path)
    assert lease is not None
    return lease


def run(task: Task) -> bool:
    """Make one attempt, as a supervisor and its worker do; return whether its result was published."""
    lease = take(task.lease)
    attempt = Attempt.begin(task, lease, "s")
    cell = next(cell for cell in played_study().cells if cell.id == task.name)
    published = write_result(task.task_dir.result, small_result(cell), attempt.name, lambda: None)
    task.task_dir.remove_leftovers(task.task_dir.model("0" * 64))
    attempt.end(0, None)
    return published


def test_a_result_removes_ten_thousand_half_written_files_of_its_cell(task: Task) -> None:
    for number in range(MANY):
        (task.task_dir.path / f"result.h5.{number}.part").touch()
    begin = time.monotonic()
    assert run(task)
    assert time.monotonic() - begin < 20
    assert sorted(path.name for path in task.task_dir.path.iterdir()) == ["attempts.jsonl", "result.h5"]


def test_ten_thousand_stale_leases_do_not_slow_a_cell(task: Task) -> None:
    for number in range(MANY):
        (task.task_dir.path / f"lease.{number}.stale").write_text(GONE)
    begin = time.monotonic()
    assert run(task)
    assert time.monotonic() - begin < 20


def test_ten_thousand_leases_of_dead_processes_are_taken_over_in_seconds(memory: Path) -> None:
    take(memory / "mine")
    mine = json.loads((memory / "mine").read_text())
    dead = json.dumps(mine | {"process": "999999999:1"})
    for number in range(MANY):
        (memory / f"{number}").mkdir()
        (memory / f"{number}" / "lease").write_text(dead)
    leases, begin = LeaseManager(), time.monotonic()
    taken = [leases.take(memory / f"{number}" / "lease") for number in range(MANY)]
    assert all(taken)
    assert time.monotonic() - begin < 90


@pytest.mark.parametrize("seconds", [-(10**9), -3600, 3600, 10**9])
def test_the_times_of_files_decide_neither_a_lease_nor_a_result(task: Task, seconds: int) -> None:
    """The clock of a node, or of the file server, may be behind or ahead."""
    now = time.time() + seconds
    lease = take(task.lease)
    os.utime(task.lease, (now, now))
    assert lease.is_mine()
    assert LeaseManager(lease_s=0.0).take(task.lease) is None
    lease.release()
    task.task_dir.checkpoint("old").write_bytes(b"x")
    os.utime(task.task_dir.checkpoint("old"), (now, now))
    assert run(task)
    os.utime(task.task_dir.result, (now, now))
    assert read_result(task.task_dir.result).cell_id == task.name
    assert not run(task)


def test_two_studies_in_one_root_do_not_disturb_each_other(tmp_path: Path) -> None:
    other = played_study().model_copy(update={"name": "other"})
    study_dirs = [freeze(study, tmp_path)[0] for study in (played_study(), other)]
    for study_dir in study_dirs:
        for task in tasks_of(played_study(), study_dir):
            task.task_dir.path.mkdir(parents=True)
            assert run(task)
    assert [len(list(study_dir.path.glob("cells/*/result.h5"))) for study_dir in study_dirs] == [2, 2]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "played"]


def test_a_result_of_another_version_stays_and_names_that_version(task: Task) -> None:
    cell = next(cell for cell in played_study().cells if cell.id == task.name)
    for version, first in (("0.1", True), ("9.9", False)):
        result = small_result(cell)
        result.attrs["version"] = version
        result.attrs["code_sha256"] = version[0] * 64
        assert write_result(task.task_dir.result, result, version, lambda: None) == first
    assert read_result(task.task_dir.result).attrs["version"] == "0.1"
