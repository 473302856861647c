"""What others left in a study, and clocks that are wrong: nothing is slower than it need be, and nothing is lost."""

import json
import os
import time

import pytest

from benchmarks.dummy_worker import small_result
from nllgen.launch.attempt import Attempt
from nllgen.launch.freeze import freeze
from nllgen.launch.lease import LeaseManager
from nllgen.storage.result import read_result, write_result
from nllgen.storage.tasks import tasks_of
from tests.faults.schedules import played_study
from tests.faults.work import work_folder

MANY = 10_000
GONE = json.dumps({"host": "elsewhere", "process": "1:1", "nonce": "x"})


@pytest.fixture
def memory():
    """In memory: what is timed is the program and not a disk."""
    with work_folder() as path:
        yield path


@pytest.fixture
def folder(memory):
    folder, _, _ = freeze(played_study(), memory)
    return folder


@pytest.fixture
def task(folder):
    found = tasks_of(played_study(), folder)[0]
    found.task_dir.path.mkdir(parents=True)
    return found


def run(task):
    """One attempt, as a supervisor and its worker make it."""
    lease = LeaseManager().take(task.lease)
    attempt = Attempt.begin(task, lease, "s")
    cell = next(cell for cell in played_study().cells if cell.id == task.name)
    published = write_result(task.task_dir.result, small_result(cell), attempt.name, lambda: None)
    task.task_dir.remove_leftovers()
    attempt.end(0, None)
    return published


def test_ten_thousand_half_written_files_in_a_cell_are_cleared_up_by_its_result(task):
    for number in range(MANY):
        (task.task_dir.path / f"result.h5.{number}.part").touch()
    begin = time.monotonic()
    assert run(task)
    assert time.monotonic() - begin < 20
    assert sorted(path.name for path in task.task_dir.path.iterdir()) == ["attempts.jsonl", "result.h5"]


def test_ten_thousand_lease_that_were_moved_aside_do_not_matter(task):
    for number in range(MANY):
        (task.task_dir.path / f"lease.{number}.stale").write_text(GONE)
    begin = time.monotonic()
    assert run(task)
    assert time.monotonic() - begin < 20


def test_ten_thousand_lease_of_the_dead_are_taken_over_in_seconds(memory):
    me = json.loads(_claim_of_this_host(memory / "mine"))
    dead = json.dumps(me | {"process": "999999999:1"})
    for number in range(MANY):
        (memory / f"{number}").mkdir()
        (memory / f"{number}" / "lease").write_text(dead)
    leases, begin = LeaseManager(), time.monotonic()
    taken = [leases.take(memory / f"{number}" / "lease") for number in range(MANY)]
    assert all(taken)
    assert time.monotonic() - begin < 90


def _claim_of_this_host(path):
    LeaseManager().take(path)
    return path.read_text()


@pytest.mark.parametrize("seconds", [-(10**9), -3600, 3600, 10**9])
def test_lease_and_results_do_not_care_what_time_the_files_say(task, seconds):
    """The clock of a node, or of the file server, was set back or is ahead."""
    now = time.time() + seconds
    lease = LeaseManager().take(task.lease)
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


def test_two_studies_in_one_root_keep_out_of_each_others_way(tmp_path):
    other = played_study().model_copy(update={"name": "other"})
    folders = [freeze(study, tmp_path)[0] for study in (played_study(), other)]
    for folder in folders:
        for task in tasks_of(played_study(), folder):
            task.task_dir.path.mkdir(parents=True)
            assert run(task)
    assert [len(list(folder.path.glob("cells/*/result.h5"))) for folder in folders] == [2, 2]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "played"]


def test_another_versions_result_of_a_cell_stays_and_says_whose_it_is(task):
    cell = next(cell for cell in played_study().cells if cell.id == task.name)
    for version, first in (("0.1", True), ("9.9", False)):
        result = small_result(cell)
        result.attrs["version"] = version
        result.attrs["code_sha256"] = version[0] * 64
        assert write_result(task.task_dir.result, result, version, lambda: None) == first
    assert read_result(task.task_dir.result).attrs["version"] == "0.1"
