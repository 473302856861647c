"""The job that a supervisor runs in: its id and resources, the scheduler's signals, and its use of memory."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nllgen.launch.gpus import Gpu, visible_gpus
from nllgen.launch.retry_policy import FailureKind
from nllgen.launch.slurm.clock import job_end

_EARLY_S = 90.0  # Slurm may send its signal up to a minute early, and checks the time every half minute
_CLOCKS_S = 10.0  # largest difference between the clocks of a node and of the controller


@dataclass(frozen=True)
class Job:
    """The environment of a supervisor."""

    id: str  # Slurm's ``<array>_<element>`` or plain id; empty outside Slurm
    element: int  # index in the array; 0 outside of one
    restarts: int  # number of times that the scheduler has restarted the job
    ends_at: float  # end of the job by ``time.time()``; infinity without a limit
    cpus: int  # number of processors that were requested; all processors outside Slurm
    affinity: tuple[int, ...]  # processors that this process may use
    gpus: tuple[Gpu, ...]  # GPUs that it may use, by number or UUID
    memory_bytes: int = 0  # memory that it may use; 0 if that is not known
    clock_problem: str = ""  # how the clock of its node differs from Slurm's; empty where they agree
    cluster: str = ""  # name of the cluster that runs the job; empty outside Slurm

    @classmethod
    def current(cls, time_min: float | None = None, environ: Mapping[str, str] = os.environ) -> Job:
        """Return the job of this process; its requested limit counts if the scheduler does not tell when it ends."""
        affinity = tuple(sorted(os.sched_getaffinity(0)))
        if not (job := current_job(environ)):
            return cls("", 0, 0, float("inf"), len(affinity), affinity, visible_gpus(environ))
        end = job_end(environ, time_min)
        return cls(
            id=job,
            element=_int(environ.get("SLURM_ARRAY_TASK_ID"), 0),
            restarts=_int(environ.get("SLURM_RESTART_COUNT"), 0),
            ends_at=end.at,
            cpus=_int(environ.get("SLURM_CPUS_PER_TASK"), len(affinity)),
            affinity=affinity,
            gpus=visible_gpus(environ),
            memory_bytes=_memory_bytes(environ),
            clock_problem=end.clock_problem,
            cluster=environ.get("SLURM_CLUSTER_NAME", ""),
        )

    @property
    def is_scheduled(self) -> bool:
        """Return True if Slurm runs the job."""
        return bool(self.id)

    @property
    def remaining_s(self) -> float:
        """Return the seconds that are left until the time limit."""
        return self.ends_at - time.time()

    def facts(self) -> dict[str, Any]:
        """Return the facts that an attempt records; empty outside Slurm."""
        if not self.is_scheduled:
            return {}
        facts = {"job": self.id, "restarts": self.restarts, "cpus": len(self.affinity), "gpus": len(self.gpus)}
        facts |= {"clock": self.clock_problem} if self.clock_problem else {}
        return facts | ({"cluster": self.cluster} if self.cluster else {})


def current_job(environ: Mapping[str, str] = os.environ) -> str:
    """Return the number of the job of Slurm that this process was sent as, ``<array>_<element>``; empty outside one."""
    if "SLURM_JOB_ID" not in environ or environ.get("SUBMITIT_EXECUTOR") != "slurm":
        return ""
    array = environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{environ.get('SLURM_ARRAY_TASK_ID', '')}" if array else environ["SLURM_JOB_ID"]


class Signals:
    """Notes the scheduler's signals, so that they are handled when nothing is in progress.

    Slurm sends USR2 (because of ``--signal``) some time before the limit or a preemption, and TERM when it ends the
    job. submitit's handler checkpoints and requeues. It is saved, and called only after the workers have saved their
    state.

    Must be made in the main thread.
    """

    def __init__(self, job: Job, warning_s: float):
        self._job = job
        self._warning_s = warning_s
        self._submitit_handler: Any = signal.getsignal(signal.SIGUSR2)
        self.kind: FailureKind | None = None  # why the job ends; None while it goes on
        self.may_requeue = False  # the job must requeue itself, because Slurm would not
        self.is_ending = False  # Slurm has sent TERM
        for number in (signal.SIGUSR2, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: object) -> None:
        if not self._job.is_scheduled:  # whoever signals a local run wants it to stop, however often
            self.kind, self.may_requeue = FailureKind.ASKED, False
            return
        is_term = number == signal.SIGTERM
        self.is_ending = self.is_ending or is_term
        if self.kind is not None:
            if is_term and self._job.remaining_s > _CLOCKS_S:
                # cancelled, or the grace time is over; Slurm restarts preempted jobs itself
                self.kind, self.may_requeue = FailureKind.PREEMPTED, False
            return
        self.may_requeue = not is_term
        if self._job.remaining_s <= (_CLOCKS_S if is_term else self._warning_s + _EARLY_S):
            self.kind = FailureKind.TIMEOUT
            self.may_requeue = True  # Slurm would not restart the job
        else:
            # Slurm requeues preempted jobs itself; a cancelled job must not come back
            self.kind = FailureKind.PREEMPTED

    def check_time_limit(self) -> None:
        """Note the time limit if little time is left; the signal may have come before this process could receive it."""
        if self.kind is None and self._job.remaining_s <= self._warning_s:
            self.kind = FailureKind.TIMEOUT
            self.may_requeue = True

    def requeue(self) -> None:
        """Call submitit's handler, which calls ``checkpoint``, requeues the job with scontrol and exits.

        Raises:
            SystemExit: the job was requeued.
        """
        handler: Callable[[int, object], None] = self._submitit_handler
        handler(signal.SIGUSR2, None)


def peak_memory_bytes(pid: int) -> int:
    """Return the sum of the peak resident sizes of a process and its descendants; 0 if it is gone (Linux)."""
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


def _descendants(pid: int) -> Iterator[int]:
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(child) for child in path.read_text().split()]
        except OSError:
            continue
        for child in children:
            yield child
            yield from _descendants(child)


class MemoryKills:
    """The workers of a job that the kernel has killed for memory; it counts them for all workers together."""

    def __init__(self) -> None:
        self._num_taken = oom_kills()

    def take(self) -> bool:
        """Assign a kill to a worker that was found killed; return False if no kill is left to assign."""
        if oom_kills() <= self._num_taken:
            return False
        self._num_taken += 1
        return True


def oom_kills() -> int:
    """Count the processes of this control group that the kernel has killed for memory; 0 if it does not count."""
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
    groups = []
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0":
            groups += [Path("/sys/fs/cgroup") / path.lstrip("/"), Path("/sys/fs/cgroup/unified") / path.lstrip("/")]
        elif "memory" in controllers.split(","):
            groups.append(Path("/sys/fs/cgroup/memory") / path.lstrip("/"))
    return groups


def _memory_bytes(environ: Mapping[str, str]) -> int:
    """Return the memory that Slurm allows, which it gives in MiB for the node, for each processor or for each GPU."""
    per_node = _int(environ.get("SLURM_MEM_PER_NODE"), 0)
    per_cpus = _int(environ.get("SLURM_MEM_PER_CPU"), 0) * _int(environ.get("SLURM_CPUS_ON_NODE"), 1)
    per_gpus = _int(environ.get("SLURM_MEM_PER_GPU"), 0) * _int(environ.get("SLURM_GPUS_ON_NODE"), 1)
    return 2**20 * (per_node or per_cpus or per_gpus)


def _int(text: str | None, otherwise: int) -> int:
    return int(text) if text and text.isascii() and text.isdigit() else otherwise
