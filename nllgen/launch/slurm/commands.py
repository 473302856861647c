"""Calls of Slurm's programs about jobs. Their answers are hints: they are asked seldom, and files decide."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from nllgen.errors import MachineError
from nllgen.launch.slurm.clusters import by_cluster, cluster_options
from nllgen.launch.slurm.patience import ask
from nllgen.launch.slurm.queue_lines import QUEUE_FORMAT, Queue, Queued, parse_queue
from nllgen.launch.slurm.refusals import hint_of, refusal
from nllgen.launch.slurm.values import parse_config, parse_fields, parse_job_id, parse_number

PATIENCE_S = 30.0
_SBATCH_S = 300.0  # a busy controller makes sbatch wait and ask again
HINT_S = 5.0  # where somebody waits at the terminal
# where the cluster is and how a user proves who they are; a job has these from its user's shell
_OF_THE_CLUSTER = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT", "SLURM_SACK_KEY", "SLURM_SACK_SOCKET")
_OUTER_JOB = ("SLURM_", "SBATCH_", "SRUN_", "SQUEUE_", "SINFO_", "SACCT_", "SALLOC_", "SUBMITIT_")


class _Answer(NamedTuple):
    """The exit code and the texts of a program; bytes that are no UTF-8 are replaced."""

    code: int
    output: str
    errors: str


def run_program(command: Sequence[str], timeout_s: float, environment: Mapping[str, str], hint: str = "") -> str:
    """Run a program that only reads, in English, and return its standard output.

    After the timeout, the program and its children are killed. A failure is reported with the hint.

    Raises:
        MachineError: the program is missing, fails, or does not answer in time.
    """
    answer = _answer(command, timeout_s, {**environment, "LC_ALL": "C"}, hint, has_session=True)
    if answer.code != 0:
        lines = (answer.errors or answer.output).strip().splitlines()
        reason = lines[-1].removeprefix(f"{command[0]}: ").removeprefix("error: ") if lines else ""
        raise MachineError(f"{command[0]} failed: {reason or f'exit code {answer.code}'}", hint)
    return answer.output


def _answer(
    command: Sequence[str], timeout_s: float, environment: Mapping[str, str], hint: str, *, has_session: bool
) -> _Answer:
    """Run a program, in a session of its own if its children are to be killed with it after the timeout."""
    program = command[0]
    if shutil.which(program) is None:
        raise MachineError(f"{program} is not on PATH", hint)
    try:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            start_new_session=has_session,
        )
    except OSError as error:
        raise MachineError(f"{program} cannot be run: {error.strerror or error}", hint) from error
    try:
        output, errors = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise MachineError(f"{program} did not answer in {timeout_s:g} s", hint) from error
    finally:
        _kill(process, has_session=has_session)
    return _Answer(process.returncode, output.decode(errors="replace"), errors.decode(errors="replace"))


def _kill(process: subprocess.Popen[bytes], *, has_session: bool) -> None:
    """Kill a program that still runs, without waiting for one that hangs in the kernel, as on a dead file server."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL) if has_session else process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=1)
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def run(command: Sequence[str], patience_s: float = PATIENCE_S) -> str:
    """Run a program of Slurm and return its standard output; where nobody waits, run it again if it fails.

    Raises:
        MachineError: it is not installed, fails, or does not answer in time.
    """
    hint = "run this on a login node of the cluster, or with --local; see: nllgen doctor"
    is_accounting = command[0] in ("sacct", "sacctmgr")
    try:
        return ask(lambda: run_program(command, patience_s, _environment(), hint), is_accounting=is_accounting)
    except MachineError as error:
        raise MachineError(error.message, hint_of(error.message.partition(": ")[2], hint)) from error


def query_queue(
    name_begins: str, owner: int | None = None, patience_s: float = PATIENCE_S, clusters: Sequence[str] = ("",)
) -> Queue:
    """List the waiting and running jobs of this user and of an owner whose name begins with a text.

    Each cluster is asked by itself, so that each line has its cluster and none is left out unnoticed.

    Raises:
        MachineError: squeue is missing, does not answer for one of the clusters, or prints what cannot be read.
    """
    users = ",".join(map(str, dict.fromkeys((os.geteuid(), os.geteuid() if owner is None else owner))))
    command = ["squeue", "--noheader", f"--user={users}", "--states=all", f"--format={QUEUE_FORMAT}"]
    jobs: dict[tuple[str, ...], Queued] = {}
    num_unread = 0
    for cluster in clusters:
        queue = parse_queue(run([*command, *cluster_options(cluster)], patience_s), name_begins, cluster)
        num_unread += queue.num_unread
        # the machine's own cluster may be named, too: the named one replaces it
        jobs |= {(job.id, str(job.elements), job.name): job for job in queue.jobs}
    return Queue(tuple(jobs.values()), num_unread)


def submit_script(script: Path) -> tuple[str, str] | None:
    """Pass a script to sbatch, in the session of this process, so that both are killed together.

    The job gets this process's environment, without an outer job's variables.

    Returns:
        Number and cluster of the job; None if sbatch accepted it and printed no number.

    Raises:
        MachineError: sbatch is missing, refuses, or does not answer in time; the hint fits its message.
    """
    environment = {name: value for name, value in os.environ.items() if not leaks(name)}
    hint = "the job may have been accepted: run the same command again; what is queued is not sent twice"
    answer = _answer(["sbatch", "--parsable", str(script)], _SBATCH_S, environment, hint, has_session=False)
    if answer.code != 0:
        raise refusal(answer.errors or answer.output)
    return parse_job_id(answer.output)


def job_named(job_name: str, clusters: Sequence[str] = ("",)) -> tuple[str, str] | None:
    """Return number and cluster of the job or array of a name that is one job's; None if no controller has one.

    Jobs that have ended count, which the controller remembers for some minutes.

    Raises:
        MachineError: squeue is missing or does not answer.
    """
    for cluster in clusters:
        command = ["squeue", "--noheader", f"--user={os.geteuid()}", "--states=all", "--format=%F|%j"]
        rows = (line.partition("|") for line in run([*command, *cluster_options(cluster)]).splitlines())
        for number, _, name in rows:
            if name.strip() == job_name and number.strip().isdecimal():
                return number.strip(), cluster
    return None


def nodes_and_partitions(cluster: str = "") -> tuple[str, str]:
    """Return ``partition|megabytes`` of each sort of nodes, and the partitions, a line each.

    Raises:
        MachineError: Slurm's programs are missing or do not answer.
    """
    options = cluster_options(cluster)
    nodes = run(["sinfo", *options, "--noheader", "--exact", "--format=%P|%m"])
    return nodes, run(["scontrol", *options, "show", "partition", "--oneliner"])


def max_array_size(cluster: str = "") -> int | None:
    """Return the bound that indices of an array stay below; None where Slurm does not answer."""
    return parse_number(_config(cluster).get("maxarraysize", ""))


def own_cluster() -> str:
    """Return the name of the machine's own cluster; empty where Slurm does not answer."""
    return _config("").get("clustername", "")


def _config(cluster: str) -> dict[str, str]:
    with contextlib.suppress(MachineError):
        return parse_config(run(["scontrol", *cluster_options(cluster), "show", "config"]))
    return {}


def show_job(job: str, cluster: str, patience_s: float = PATIENCE_S) -> list[dict[str, str]]:
    """Return the controller's record of a job or of each element of an array, which it forgets after some minutes.

    Raises:
        MachineError: it does not answer, or does not have the job.
    """
    command = ["scontrol", *cluster_options(cluster), "--oneliner", "show", "job", job]
    return [fields for fields in map(parse_fields, run(command, patience_s).splitlines()) if "JobState" in fields]


def query_accounting(job: str, cluster: str, columns: str, *options: str, patience_s: float = PATIENCE_S) -> str:
    """Return what sacct prints of a job or array, ``|`` between the columns.

    Raises:
        MachineError: accounting is off, or does not answer.
    """
    command = ["sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={job}", f"--format={columns}"]
    return run([*command, *cluster_options(cluster), *options], patience_s)


def cancel(jobs: Sequence[str], *, states: Sequence[str] = ()) -> None:
    """Cancel jobs, arrays or elements (``7``, ``7_3`` or ``7;alpha``), or only those in one of some states.

    Raises:
        MachineError: scancel is missing or fails.
    """
    for cluster, numbers in by_cluster(jobs).items():
        for start in range(0, len(numbers), 500):
            for state in states or ("",):
                options = [*cluster_options(cluster), *([f"--state={state}"] if state else [])]
                run(["scancel", *options, *numbers[start : start + 500]])


def _environment() -> dict[str, str]:
    """Copy the environment without an outer job's variables and a user's default options of Slurm's programs."""
    kept = {name: value for name, value in os.environ.items() if not leaks(name)}
    return kept | {"SLURM_BITSTR_LEN": "0"}  # else squeue cuts the elements of an array off after 64 characters


def leaks(name: str) -> bool:
    """Return whether a variable of an outer job, or of a user's defaults, would change a command."""
    return name.startswith(_OUTER_JOB) and name not in _OF_THE_CLUSTER
