"""Lines of squeue. Foreign text among them, such as a banner or another job's name, is skipped and counted."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nllgen.errors import MachineError
from nllgen.launch.slurm.clusters import OWN_CLUSTER, on_cluster
from nllgen.launch.slurm.values import parse_indices

# job, name, state, reason or nodes, expected or actual start
QUEUE_FORMAT = "%i|%j|%T|%R|%S"
_NUM_FIELDS = 4  # before the start
_RANGE = r"\d+(?:-\d+)?(?::\d+)?"
# ``7``, ``7_3`` or ``7_[0-3,5,8-12:4%4]``; a list that was cut off is none
_ID = re.compile(rf"(\d+)(?:_(\d+|\[{_RANGE}(?:,{_RANGE})*(?:%\d+)?\]))?")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d|N/A|Unknown|NONE")
_WAITING = frozenset(("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT"))
# states of jobs that neither run nor will; a state of a later version counts as live
_ENDED = frozenset(
    (
        *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "LAUNCH_FAILED", "NODE_FAIL", "OUT_OF_MEMORY"),
        *("PREEMPTED", "RECONFIG_FAIL", "REVOKED", "TIMEOUT"),
    )
)
_LIVE = frozenset(
    (
        *("PENDING", "RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED"),
        *("RESIZING", "SIGNALING", "SPECIAL_EXIT", "STAGE_OUT", "STOPPED"),
    )
)


def is_state(text: str) -> bool:
    """Return whether a text is a job's state, such as ``CANCELLED by 0``, and no line of another program."""
    return bool(text.strip()) and text.split()[0].rstrip("+") in _ENDED | _LIVE


def is_ended(state: str) -> bool:
    """Return whether a state, such as ``CANCELLED by 0``, is of a job that neither runs nor will."""
    return bool(state.strip()) and state.split()[0].rstrip("+") in _ENDED


@dataclass(frozen=True)
class Queued:
    """A line of squeue: a job, an array, or elements of one."""

    id: str  # number of the job or array
    elements: range | tuple[int, ...]  # indices of the elements on this line; empty for a job that is no array
    name: str
    state: str  # in Slurm's words, such as ``PENDING``
    reason: str  # why it waits, or where it runs
    starts_at: str = ""  # when Slurm expects a waiting job to start, ``2026-12-01T08:00:00``; empty where it does not
    cluster: str = OWN_CLUSTER  # that it was asked on

    @property
    def is_waiting(self) -> bool:
        """Return True if it waits to be started."""
        return self.state in _WAITING

    @property
    def num_elements(self) -> int:
        """Return the number of elements on this line; 1 for a job that is no array."""
        return len(self.elements) or 1

    @property
    def number(self) -> str:
        """Return the number by which scontrol takes what is on this line: ``7``, or ``7_3`` for a single element."""
        return f"{self.id}_{self.elements[0]}" if len(self.elements) == 1 else self.id

    @property
    def job(self) -> str:
        """Return the number with the cluster, such as ``7;alpha``."""
        return on_cluster(self.id, self.cluster)


@dataclass(frozen=True)
class Queue:
    """The live jobs whose name begins with a text."""

    jobs: tuple[Queued, ...]
    num_unread: int = 0  # number of lines that are no line of squeue


def parse_queue(text: str, name_begins: str, cluster: str = OWN_CLUSTER) -> Queue:
    """Read ``squeue --format=QUEUE_FORMAT`` of one cluster, with or without headings.

    Raises:
        MachineError: a line with one of these names cannot be read.
    """
    jobs: list[Queued] = []
    num_unread = 0
    for line in filter(None, map(str.strip, text.splitlines())):
        if line.startswith("CLUSTER: "):
            cluster = line.removeprefix("CLUSTER: ").strip()
        elif not line.startswith("JOBID|"):
            try:
                jobs.append(parse_line(line, cluster))
            except ValueError as error:
                if name_begins in line:
                    raise MachineError(
                        f"squeue printed a line of this study that cannot be read ({error}): {line[:200]!r}",
                        "nothing was sent or cancelled; report this line and the output of squeue --version",
                    ) from error
                num_unread += 1
    own = [job for job in jobs if job.name.startswith(name_begins) and not is_ended(job.state)]
    return Queue(tuple(own), num_unread)


def parse_line(line: str, cluster: str = OWN_CLUSTER) -> Queued:
    """Read one line; the reason may have bars.

    Raises:
        ValueError: it is no line of squeue.
    """
    fields = line.strip().split("|")
    if len(fields) < _NUM_FIELDS:
        raise ValueError(f"it has {len(fields)} fields in place of {_NUM_FIELDS + 1}")
    job, name, state, *rest = fields
    match = _ID.fullmatch(job)
    if match is None:
        raise ValueError(f"{job[:40]!r} is no number of a job")
    starts_at = rest.pop() if len(rest) > 1 and _TIME.fullmatch(rest[-1]) else ""
    reason = "|".join(rest)
    if reason.startswith("(") and reason.endswith(")"):
        reason = reason[1:-1]
    elements = tuple(parse_indices(match[2] or ""))
    return Queued(match[1], elements, name, state, reason, starts_at if starts_at[:1].isdigit() else "", cluster)
