"""Sending of a stage to a slow controller: its job is searched for by name before it is sent again."""

from __future__ import annotations

import time
from collections.abc import Callable

from nllgen.errors import MachineError
from nllgen.launch.slurm.commands import job_named
from nllgen.launch.slurm.executor import OnePickle, send
from nllgen.launch.slurm.patience import FIRST_PAUSE_S, is_transient, patience_end, pause

_ATTENDED_S = 45.0  # where somebody waits at the terminal


def send_patiently(
    executor: OnePickle, job_function: Callable[[], object], job_name: str, echo: Callable[[str], None]
) -> tuple[str, str]:
    """Send a stage; return the number of its array, and its cluster, which is empty for the machine's own.

    An sbatch that timed out may have been accepted. It is sent again only after the controller has said that it has no
    job of this name.

    Raises:
        MachineError: sbatch refused it, or the controller does not answer for too long.
    """
    end, pause_s = patience_end(_ATTENDED_S), FIRST_PAUSE_S
    while True:
        try:
            return send(executor, job_function)
        except MachineError as error:
            if not is_transient(f"{error.message} {error.__cause__}"):
                raise
            failure = error
        echo(f"{job_name}: {failure.message}; its job is searched for by name")
        is_answered = False
        while not is_answered:
            if time.monotonic() >= end:
                raise failure
            pause_s = pause(pause_s, end)
            try:
                job = job_named(job_name, executor.clusters)
            except MachineError:
                continue
            if job is not None:
                return job
            is_answered = True
