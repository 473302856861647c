"""The end of a job by the clock of its node, which may differ from the controller's."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import NamedTuple

STARTED_VARIABLE = "NLLGEN_JOB_STARTED"  # when the job's script began, by ``time.time()``
_EARLY_S = 30.0  # a script cannot begin before its job: so much may two clocks differ
_LATE_S = 120.0  # a prolog may take its time


class JobEnd(NamedTuple):
    """The end of a job by this node's clock; infinity without a limit."""

    at: float
    clock_problem: str  # how the clocks differ; empty where they agree


def job_end(environ: Mapping[str, str], time_min: float | None) -> JobEnd:
    """Return the end of this job, from the times that Slurm tells or else from its requested limit.

    Slurm tells times by the controller's clock. Where they contradict the time at which the script began, the limit
    counts from then. Slurm's own signal still comes, should a slow prolog be the reason.
    """
    begun = _time(environ, STARTED_VARIABLE) or time.time()
    start, end = _time(environ, "SLURM_JOB_START_TIME"), _time(environ, "SLURM_JOB_END_TIME")
    requested_s = float("inf") if time_min is None else 60 * time_min
    if not end:
        return JobEnd(begun + requested_s, "")
    limit_s = end - start if 0 < start < end else requested_s
    node = os.uname().nodename
    if start and begun < start - _EARLY_S:
        problem = f"the clock of node {node} is {start - begun:.0f} s behind Slurm's"
    elif start and begun > start + _LATE_S:
        late = f"this job began {begun - start:.0f} s after Slurm had started it"
        problem = f"by the clock of node {node}, {late}: the clock is ahead, or the prolog is slow"
    elif end <= begun:
        problem = f"the clock of node {node} is ahead of Slurm's: this job began {begun - end:.0f} s after its end"
    else:
        return JobEnd(end, "")
    return JobEnd(begun + limit_s, problem)


def _time(environ: Mapping[str, str], name: str) -> float:
    text = environ.get(name, "")
    return float(text) if text.isascii() and text.isdigit() else 0.0
