"""Ends of jobs, by the controller, which forgets them after some minutes, and by accounting where it is on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nllgen.errors import MachineError
from nllgen.launch.slurm.commands import HINT_S, PATIENCE_S, query_accounting, show_job
from nllgen.launch.slurm.queue_lines import is_ended, is_state
from nllgen.launch.slurm.values import parse_indices

_SACCT_S = 10.0


def was_cancelled(job: str, cluster: str = "") -> bool:
    """Return whether somebody ended a job by scancel, which its processes cannot tell from a preemption.

    The controller is asked: it remembers a job for some minutes and needs no accounting.
    """
    with contextlib.suppress(MachineError):
        return bool(job) and any(
            fields["JobState"].startswith("CANCELLED") for fields in show_job(job, _other_cluster(cluster))
        )
    return False


@dataclass(frozen=True)
class Ends:
    """Final states of an array's elements."""

    # element, ``<array>_<index>``, or the number of a job that is no array → its state, where it is remembered
    states: dict[str, str]
    are_all: bool  # whether they are sacct's, which forgets only elements that were cancelled while they waited
    exits: dict[str, str] = field(default_factory=dict, compare=False)  # element → ``exit code:signal``

    def has_ended(self, element: str) -> bool | None:
        """Return whether an element, or a whole job, has ended; None where nothing is known of it."""
        states = [state for job, state in self.states.items() if element in (job, job.partition("_")[0])]
        return all(map(is_ended, states)) if states else None


_End = tuple[str, str, str]  # indices of elements, empty for a job that is no array; state; ``exit code:signal``


def ends_of(array: str, patience_s: float = PATIENCE_S, cluster: str = "") -> Ends:
    """Ask sacct, and the controller, which forgets an element some minutes after its end.

    Neither remembers an element that was cancelled by itself while it waited.
    """
    rows: list[_End] = []
    with contextlib.suppress(MachineError):
        for line in query_accounting(array, cluster, "JobID,State,ExitCode", patience_s=patience_s).splitlines():
            job, state, exited, *_ = [*line.split("|"), "", ""]
            if job.partition("_")[0] == array and is_state(state):
                rows.append((job.partition("_")[2], state, exited))
    are_all = bool(rows)  # so far they are sacct's
    return _ends(array, rows + _ends_by_controller(array, cluster, patience_s), are_all=are_all)


def controller_ends_of(array: str, cluster: str = "") -> Ends:
    """Ask the controller alone, where somebody waits at the terminal; states of live elements are among them."""
    return _ends(array, _ends_by_controller(array, cluster, HINT_S), are_all=False)


def _ends_by_controller(array: str, cluster: str, patience_s: float) -> list[_End]:
    with contextlib.suppress(MachineError):
        records = show_job(array, cluster, patience_s)
        return [(job.get("ArrayTaskId", ""), job["JobState"], job.get("ExitCode", "")) for job in records]
    return []


def _ends(array: str, rows: Sequence[_End], *, are_all: bool) -> Ends:
    """Spread rows over elements; the waiting rest of an array may have a row under its number, which is no job's."""
    states: dict[str, str] = {}
    exits: dict[str, str] = {}
    for indices, state, exited in rows:
        elements = [f"{array}_{index}" for index in parse_indices(indices)] or [array]
        states |= dict.fromkeys(elements, state)
        exits |= dict.fromkeys(elements, exited)
    if len(states) > 1:
        states.pop(array, None)
    return Ends(states, are_all, exits)


def _other_cluster(cluster: str) -> str:
    """Return a cluster unless this process runs in a job of it, where the programs need no name to ask it."""
    return "" if cluster == os.environ.get("SLURM_CLUSTER_NAME") else cluster


def sacct_state(start: Mapping[str, Any]) -> str:
    """Return the state in which sacct saw the job of an attempt end, by the line of its start; empty where it has not.

    A job that was requeued has a line for each time that it ran. Only one of them is this attempt's.
    """
    job, restarts = str(start.get("job", "")), start.get("restarts", 0)
    if not job:
        return ""
    cluster = _other_cluster(str(start.get("cluster", "")))
    try:
        output = query_accounting(job, cluster, "State", "--duplicates", patience_s=_SACCT_S)
    except MachineError:
        return ""
    states = [line.strip() for line in output.splitlines() if is_state(line)]
    if not isinstance(restarts, int) or not 0 <= restarts < len(states):
        return ""
    state = states[restarts]
    return state if is_ended(state) or state.startswith("REQUEUED") else ""  # the job goes on, but not this attempt
