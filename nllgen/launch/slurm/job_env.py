"""The job that a supervisor runs in: what the scheduler calls it, what it gave, and how it asks to stop."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nllgen.launch.gpus import visible
from nllgen.launch.retry_policy import FailureKind

STARTED_VARIABLE = "NLLGEN_JOB_STARTED"  # when the job's script began, by ``time.time()``
_SHORT_S = 90.0  # Slurm may give its signal a minute early, and looks at the time every half minute
_CLOCKS_S = 10.0  # by which the clocks of a node and of the controller may differ


@dataclass(frozen=True)
class Job:
    """Where a supervisor runs.

    Attributes:
        id: ``<array>_<element>`` or a plain id of Slurm; empty outside it.
        element: index in the array, 0 outside of one.
        restarts: times that the scheduler has started the job before.
        ends_at: by ``time.time()``; infinity without a limit.
        cpus: that were asked for; as many as there are outside Slurm.
        affinity: processors that this process may really use.
        gpus: numbers of the GPUs that it may use.
        memory_bytes: that it may use; 0 where nobody says.
    """

    id: str
    element: int
    restarts: int
    ends_at: float
    cpus: int
    affinity: tuple[int, ...]
    gpus: tuple[int, ...]
    memory_bytes: int = 0

    @classmethod
    def here(cls, time_min: float | None = None, environ: Mapping[str, str] = os.environ) -> Job:
        """The job of this process.

        Args:
            time_min: the limit that was asked for, where the scheduler does not tell when it ends.
            environ: its environment.
        """
        affinity = tuple(sorted(os.sched_getaffinity(0)))
        if "SLURM_JOB_ID" not in environ or environ.get("SUBMITIT_EXECUTOR") != "slurm":
            return cls("", 0, 0, float("inf"), len(affinity), affinity, visible(environ))
        array, element = environ.get("SLURM_ARRAY_JOB_ID"), environ.get("SLURM_ARRAY_TASK_ID")
        started = float(_int(environ.get(STARTED_VARIABLE), 0)) or time.time()
        limit = float("inf") if time_min is None else started + 60 * time_min
        return cls(
            id=f"{array}_{element}" if array else environ["SLURM_JOB_ID"],
            element=int(element or 0),
            restarts=_int(environ.get("SLURM_RESTART_COUNT"), 0),
            ends_at=float(_int(environ.get("SLURM_JOB_END_TIME"), 0)) or limit,
            cpus=_int(environ.get("SLURM_CPUS_PER_TASK"), len(affinity)),
            affinity=affinity,
            gpus=visible(environ),
            memory_bytes=_memory(environ),
        )

    @property
    def is_scheduled(self) -> bool:
        """Whether Slurm runs it."""
        return bool(self.id)

    @property
    def remaining_s(self) -> float:
        """Seconds to the time limit."""
        return self.ends_at - time.time()

    def facts(self) -> dict[str, Any]:
        """For the record of an attempt."""
        if not self.is_scheduled:
            return {}
        return {"job": self.id, "restarts": self.restarts, "cpus": len(self.affinity), "gpus": len(self.gpus)}


class Signals:
    """Turns what a scheduler signals into words that are read at a safe moment.

    Slurm sends USR2 (as ``--signal`` asks) some time before the limit or a preemption, and TERM when it ends the job.
    submitit's own handler checkpoints and requeues; it is kept and called when the workers have saved their state,
    never in the middle of something.

    To be made in the main thread.
    """

    def __init__(self, job: Job, warning_s: float):
        self._job = job
        self._warning_s = warning_s
        self._requeue: Any = signal.getsignal(signal.SIGUSR2)
        self.kind: FailureKind | None = None
        self.may_requeue = False
        self.is_ending = False
        for number in (signal.SIGUSR2, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: object) -> None:
        self.is_ending = self.is_ending or number == signal.SIGTERM
        if self.kind is not None:
            if number == signal.SIGTERM and self._job.remaining_s > _CLOCKS_S:
                # cancelled, or its grace is over: Slurm itself starts again what it has preempted
                self.kind, self.may_requeue = FailureKind.PREEMPTED, False
            return
        self.may_requeue = number == signal.SIGUSR2 and self._job.is_scheduled
        if not self._job.is_scheduled:
            self.kind = FailureKind.ASKED
        elif self._job.remaining_s <= (self._warning_s + _SHORT_S if number == signal.SIGUSR2 else _CLOCKS_S):
            self.kind = FailureKind.TIMEOUT
            self.may_requeue = True  # Slurm itself would not start it again
        else:
            # a preempted job is requeued by Slurm itself; requeueing one that was cancelled would bring it back
            self.kind = FailureKind.PREEMPTED

    def look_at_the_clock(self) -> None:
        """The warning comes once, perhaps before this process could hear it; the time that is left says the same."""
        if self.kind is None and self._job.remaining_s <= self._warning_s:
            self.kind = FailureKind.TIMEOUT
            self.may_requeue = True

    def requeue(self) -> None:
        """Leave through submitit's handler: it calls ``checkpoint``, asks the host's scontrol and exits.

        Raises:
            SystemExit: the job was requeued.
        """
        handler: Callable[[int, object], None] = self._requeue
        handler(signal.SIGUSR2, None)


def peak_memory_bytes(pid: int) -> int:
    """Largest resident size of a process and its descendants so far; 0 where it is gone (Linux)."""
    total = 0
    for process in (pid, *_descendants(pid)):
        try:
            status = Path(f"/proc/{process}/status").read_text()
        except OSError:
            continue
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                total += 1024 * int(line.split()[1])
    return total


def _descendants(pid: int) -> list[int]:
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(child) for child in path.read_text().split()]
        except OSError:
            continue
        for child in children:
            found += [child, *_descendants(child)]
    return found


class MemoryKills:
    """Which of a job's workers the kernel has killed for memory: it counts for all of them together."""

    def __init__(self) -> None:
        self._told = oom_kills()

    def take(self) -> bool:
        """Whether there was one that no other worker has taken for its own; asked when a worker was found killed."""
        if oom_kills() <= self._told:
            return False
        self._told += 1
        return True


def oom_kills() -> int:
    """Processes of this process's control group that the kernel has killed for memory; 0 where it does not tell."""
    count = 0
    for path in _memory_groups():
        for name in ("memory.events", "memory.oom_control"):
            try:
                lines = (path / name).read_text().splitlines()
            except OSError:
                continue
            count += sum(_int(line.split()[1], 0) for line in lines if line.startswith("oom_kill "))
    return count


def _memory_groups() -> list[Path]:
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0":
            found += [Path("/sys/fs/cgroup") / path.lstrip("/"), Path("/sys/fs/cgroup/unified") / path.lstrip("/")]
        elif "memory" in controllers.split(","):
            found.append(Path("/sys/fs/cgroup/memory") / path.lstrip("/"))
    return found


def _memory(environ: Mapping[str, str]) -> int:
    """What Slurm allows, which it tells in MiB for the node or for each processor."""
    whole = _int(environ.get("SLURM_MEM_PER_NODE"), 0)
    each = _int(environ.get("SLURM_MEM_PER_CPU"), 0) * _int(environ.get("SLURM_CPUS_ON_NODE"), 1)
    return 2**20 * (whole or each)


def _int(text: str | None, otherwise: int) -> int:
    return int(text) if text and text.isascii() and text.isdigit() else otherwise
