"""The job of a supervisor, and the meaning of the scheduler's signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from nllgen.launch.retry_policy import FailureKind
from nllgen.launch.slurm.clock import STARTED_VARIABLE
from nllgen.launch.slurm.job_env import Job, Signals

ARRAY = {
    "SLURM_JOB_ID": "12",
    "SLURM_ARRAY_JOB_ID": "10",
    "SLURM_ARRAY_TASK_ID": "2",
    "SLURM_RESTART_COUNT": "3",
    "SLURM_CPUS_PER_TASK": "2",
    "SLURM_MEM_PER_NODE": "100",
    "SUBMITIT_EXECUTOR": "slurm",
}


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR2, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_an_element_knows_its_array() -> None:
    job = Job.current(10, ARRAY)
    assert (job.id, job.element, job.restarts, job.cpus, job.memory_bytes) == ("10_2", 2, 3, 2, 100 * 2**20)
    assert 590 < job.remaining_s <= 600


@pytest.mark.parametrize(
    ("variables", "mebibytes"),
    [
        ({"SLURM_MEM_PER_CPU": "100", "SLURM_CPUS_ON_NODE": "4"}, 400),
        ({"SLURM_MEM_PER_GPU": "500", "SLURM_GPUS_ON_NODE": "2"}, 1000),
        ({}, 0),
    ],
)
def test_memory_is_known_however_it_was_asked_for(variables: dict[str, str], mebibytes: int) -> None:
    outside = {name: value for name, value in ARRAY.items() if name != "SLURM_MEM_PER_NODE"}
    assert Job.current(10, outside | variables).memory_bytes == mebibytes * 2**20


def test_a_job_that_is_no_array_has_its_plain_number() -> None:
    assert Job.current(10, {"SLURM_JOB_ID": "12", "SUBMITIT_EXECUTOR": "slurm"}).id == "12"


def test_the_schedulers_own_end_counts() -> None:
    end = int(time.time()) + 30
    assert Job.current(10, ARRAY | {"SLURM_JOB_END_TIME": str(end)}).ends_at == end


def test_the_limit_counts_from_the_scripts_start() -> None:
    job = Job.current(10, ARRAY | {STARTED_VARIABLE: str(int(time.time()) - 100)})
    assert 490 < job.remaining_s <= 500


def test_a_local_supervisor_within_an_allocation_is_not_its_job() -> None:
    job = Job.current(10, ARRAY | {"SUBMITIT_EXECUTOR": "local"})
    assert (job.id, job.remaining_s, job.facts()) == ("", float("inf"), {})


@pytest.mark.parametrize(
    ("number", "left_s", "kind", "requeue"),
    [
        (signal.SIGUSR2, 30, FailureKind.TIMEOUT, True),
        (signal.SIGUSR2, 3600, FailureKind.PREEMPTED, True),
        (signal.SIGTERM, -5, FailureKind.TIMEOUT, True),
        (signal.SIGTERM, 3600, FailureKind.PREEMPTED, False),
        (signal.SIGTERM, 60, FailureKind.PREEMPTED, False),  # scancel shortly before the limit: it is not to come back
    ],
)
def test_a_signal_means(number: signal.Signals, left_s: float, kind: FailureKind, requeue: bool) -> None:
    signals = Signals(Job("7", 0, 0, time.time() + left_s, 1, (0,), ()), 20.0)
    os.kill(os.getpid(), number)
    assert (signals.kind, signals.may_requeue) == (kind, requeue)


@pytest.mark.parametrize(
    ("left_s", "kind", "requeue"), [(5, FailureKind.TIMEOUT, True), (60, FailureKind.PREEMPTED, False)]
)
def test_the_first_signal_decides_except_for_a_cancellation_before_the_limit(
    left_s: float, kind: FailureKind, requeue: bool
) -> None:
    signals = Signals(Job("7", 0, 0, time.time() + left_s, 1, (0,), ()), 20.0)
    os.kill(os.getpid(), signal.SIGUSR2)
    os.kill(os.getpid(), signal.SIGTERM)
    assert (signals.kind, signals.may_requeue) == (kind, requeue)


@pytest.mark.parametrize("times", [1, 2])  # the second comes from a group that is signalled, or from somebody in haste
def test_outside_a_scheduler_a_signal_asks(times: int) -> None:
    signals = Signals(Job("", 0, 0, float("inf"), 1, (0,), ()), 20.0)
    for _ in range(times):
        os.kill(os.getpid(), signal.SIGTERM)
    assert (signals.kind, signals.may_requeue) == (FailureKind.ASKED, False)


@pytest.mark.parametrize(("left_s", "kind"), [(19, FailureKind.TIMEOUT), (25, None)])
def test_a_missed_signal_is_replaced_by_the_clock(left_s: float, kind: FailureKind | None) -> None:
    signals = Signals(Job("7", 0, 0, time.time() + left_s, 1, (0,), ()), 20.0)
    signals.check_time_limit()
    assert (signals.kind, signals.may_requeue) == (kind, kind is not None)


def test_a_supervisor_handles_a_signal_that_its_script_ignored_and_its_workers_do_not_inherit_that() -> None:
    """Start Python as the script does, with USR2 ignored."""
    program = (
        "import os, signal, subprocess, sys, time\n"
        "from nllgen.launch.slurm.job_env import Job, Signals\n"
        "assert signal.getsignal(signal.SIGUSR2) is signal.SIG_IGN\n"
        "heard = Signals(Job('7', 0, 0, time.time() + 3600, 1, (0,), ()), 20.0)\n"
        "os.kill(os.getpid(), signal.SIGUSR2)\n"
        "child = subprocess.run([sys.executable, '-c', 'import signal; print(signal.getsignal(signal.SIGUSR2) == 0)'],"
        " capture_output=True, text=True)\n"
        "print(heard.kind, child.stdout.strip())"
    )
    script = ["bash", "-c", 'trap \'\' USR2; exec "$0" -c "$1"', sys.executable, program]
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.stdout.split() == ["preempted", "True"], done.stderr
