"""What a supervisor knows of its job, and when it is told to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nllgen.launch.failures import Kind
from nllgen.launch.job import Job, Signals, oom_kills, peak_memory_bytes

SLURM = {
    "SUBMITIT_EXECUTOR": "slurm",
    "SLURM_JOB_ID": "99",
    "SLURM_ARRAY_JOB_ID": "90",
    "SLURM_ARRAY_TASK_ID": "4",
    "SLURM_CPUS_PER_TASK": "2",
    "SLURM_RESTART_COUNT": "3",
    "SLURM_MEM_PER_NODE": "1000",
}


def test_a_job_of_slurm_knows_its_element_its_restarts_and_its_memory() -> None:
    job = Job.here(10, SLURM)
    assert (job.id, job.element, job.restarts, job.cpus, job.memory_bytes) == ("90_4", 4, 3, 2, 1000 * 2**20)
    assert 590 < job.remaining_s <= 600


def test_the_scheduler_s_word_for_the_end_goes_before_the_limit_that_was_asked_for() -> None:
    job = Job.here(10, SLURM | {"SLURM_JOB_END_TIME": str(int(time.time()) + 60)})
    assert 55 < job.remaining_s <= 60


def test_memory_may_be_told_for_each_processor() -> None:
    environ = {name: value for name, value in SLURM.items() if name != "SLURM_MEM_PER_NODE"}
    assert Job.here(1, environ | {"SLURM_MEM_PER_CPU": "300", "SLURM_CPUS_ON_NODE": "2"}).memory_bytes == 600 * 2**20


@pytest.mark.parametrize("environ", [{}, {"SLURM_JOB_ID": "9"}])
def test_outside_slurm_or_by_hand_inside_it_there_is_no_job(environ: dict[str, str]) -> None:
    job = Job.here(10, environ)
    assert (job.is_scheduled, job.facts(), job.remaining_s) == (False, {}, float("inf"))
    assert job.affinity == tuple(sorted(os.sched_getaffinity(0)))


@pytest.fixture
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR2, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "remaining", "kind", "requeue"),
    [
        (signal.SIGUSR2, 20, Kind.TIMEOUT, True),
        (signal.SIGUSR2, 3000, Kind.PREEMPTED, True),
        (signal.SIGTERM, 3000, Kind.PREEMPTED, False),  # Slurm requeues it, or somebody has cancelled it
        (signal.SIGTERM, 5, Kind.TIMEOUT, True),
    ],
)
@pytest.mark.usefixtures("_handlers")
def test_a_signal_becomes_a_word_and_interrupts_nothing(
    number: int, remaining: float, kind: Kind, requeue: bool
) -> None:
    job = replace(Job.here(10, SLURM), ends_at=time.time() + remaining)
    signals = Signals(job, 60)
    assert (signals.kind, signals.may_requeue) == (None, False)
    os.kill(os.getpid(), number)
    assert (signals.kind, signals.may_requeue) == (kind, requeue)


@pytest.mark.usefixtures("_handlers")
def test_requeueing_goes_through_the_handler_that_was_there_before() -> None:
    called = []
    signal.signal(signal.SIGUSR2, lambda number, frame: called.append(number))
    signals = Signals(Job.here(10, SLURM), 60)
    os.kill(os.getpid(), signal.SIGUSR2)
    assert called == []
    signals.requeue()
    assert called == [signal.SIGUSR2]


def test_memory_of_a_process_and_its_children_is_seen() -> None:
    code = "import subprocess, sys; x = bytearray(60_000_000); subprocess.run([sys.executable, '-c', sys.argv[1]])"
    inner = "x = bytearray(80_000_000); print('ready', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, inner], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert 140e6 < peak_memory_bytes(process.pid) < 400e6
        process.communicate(b"\n")
    assert peak_memory_bytes(process.pid) == 0


def test_the_kernel_s_killings_for_memory_are_counted(tmp_path: Path) -> None:
    """In a control group of its own, where this machine lets one be made."""
    group = Path("/sys/fs/cgroup/memory") / f"nllgen-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"NOT TESTED: no control group of memory can be made here: {error}")
    try:
        (group / "memory.limit_in_bytes").write_text("60000000")
        script = (
            f"import os, subprocess, sys; open('{group}/cgroup.procs', 'w').write(str(os.getpid()))\n"
            "from nllgen.launch.job import oom_kills\n"
            "before = oom_kills()\n"
            "code = subprocess.run([sys.executable, '-c', 'x = bytearray(90_000_000)']).returncode\n"
            "print(code, oom_kills() - before)"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["-9", "1"]
    finally:
        group.rmdir()
    assert oom_kills() >= 0
