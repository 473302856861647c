"""Worker slots and the ends of their workers, with real processes in place of workers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nllgen.launch import worker_slot as worker_slots
from nllgen.launch.attempt import record_lost
from nllgen.launch.lease import LeaseManager
from nllgen.launch.retry_policy import FailureKind
from nllgen.launch.slurm.job_env import Job, MemoryKills
from nllgen.launch.tasks import read_attempts
from nllgen.launch.worker_process import WorkerConfig
from nllgen.launch.worker_slot import WorkerSlot
from nllgen.storage.atomic import make_folder
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task, tasks_of
from nllgen.study.config import Study
from nllgen.study.run_options import RunOptions

JOB = Job("7_0", 0, 0, float("inf"), 1, (0,), ())
# takes an order, and when its input ends it has "saved" its state
SAVES = """import json, sys
sys.stdin.readline()
sys.stdin.read()
ATEND
print(json.dumps({"exit_code": 75, "reason": "stopped when asked to"}), flush=True)
"""


@pytest.fixture
def folder(tmp_path: Path) -> StudyDir:
    return StudyDir(tmp_path / "tiny")


@pytest.fixture
def task(tiny: Study, folder: StudyDir) -> Task:
    found = tasks_of(tiny, folder)[2]
    make_folder(found.task_dir.path)
    return found


def slot_of(folder: StudyDir, at_end: str = "") -> WorkerSlot:
    program = (sys.executable, "-c", SAVES.replace("ATEND", at_end))
    return WorkerSlot(
        folder, "s", WorkerConfig(RunOptions(folder.path), program=program), 1, (), (), JOB, MemoryKills()
    )


def begin(worker_slot: WorkerSlot, task: Task) -> None:
    lease = LeaseManager(job=JOB.id).take(task.lease)
    assert lease is not None
    worker_slot.start(task, lease)


def events(task: Task) -> list[tuple[str, str | None]]:
    return [(line["event"], line.get("kind")) for line in read_attempts(task.attempts)]


def ends(worker_slot: WorkerSlot) -> str:
    give_up = time.monotonic() + 30
    while (ended := worker_slot.advance()) is None:
        assert time.monotonic() < give_up
        time.sleep(0.02)
    return ended.outcome


def test_a_worker_whose_lease_was_taken_over_stops_and_records_no_second_end(
    folder: StudyDir, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_slots, "RENEW_S", 0.0)
    worker_slot = slot_of(folder)
    begin(worker_slot, task)
    assert worker_slot.advance() is None
    successor = LeaseManager(job=JOB.id, restarts=1).take(task.lease)
    assert successor is not None
    record_lost(task, FailureKind.LOST, "its node does not answer")
    successor.release()
    assert ends(worker_slot) == "failed"
    assert events(task) == [("started", None), ("lost", "lost")]


def test_a_cell_that_was_cancelled_while_its_job_ended_is_not_a_timeout(folder: StudyDir, task: Task) -> None:
    worker_slot = slot_of(folder)
    begin(worker_slot, task)
    task.stop.touch()
    worker_slot.ask_to_stop()
    worker_slot.close(FailureKind.TIMEOUT, 20.0)
    assert events(task) == [("started", None), ("stopped", "asked")]


def test_a_worker_killed_because_it_stops_too_slowly_has_the_kind_of_the_stop(folder: StudyDir, task: Task) -> None:
    worker_slot = slot_of(folder, "import time; time.sleep(60)")
    begin(worker_slot, task)
    worker_slot.ask_to_stop()
    worker_slot.close(FailureKind.TIMEOUT, 0.5)
    assert events(task) == [("started", None), ("stopped", "timeout")]


@pytest.fixture
def small_group() -> Iterator[Path]:
    """Yield a control group with little memory."""
    group = Path("/sys/fs/cgroup/memory") / f"nllgen-slot-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"NOT TESTED: no control group of memory can be made here: {error}")
    (group / "memory.limit_in_bytes").write_text("150000000")
    yield group
    group.rmdir()


def test_a_worker_killed_for_memory_while_it_stops_ran_out_of_memory(small_group: Path, tmp_path: Path) -> None:
    script = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
open("{small_group}/cgroup.procs", "w").write(str(os.getpid()))
from pathlib import Path
from tests.launch.test_worker_slot import FailureKind, StudyDir, begin, events, slot_of
from tests.launch.conftest import grid_text
from nllgen.storage.tasks import tasks_of
from nllgen.study.load import parse_study
folder = StudyDir(Path(sys.argv[1]) / "tiny")
task = tasks_of(parse_study(grid_text(), "tiny.yaml", precision="fp32"), folder)[2]
task.task_dir.path.mkdir(parents=True)
slot = slot_of(folder, "x = bytearray(200_000_000)")
begin(slot, task)
slot.ask_to_stop()
slot.close(FailureKind.TIMEOUT, 30.0)
print(events(task)[-1])
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True)
    assert done.stdout.strip() == "('failed', 'out of memory')", done.stderr
