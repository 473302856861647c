"""Calls of Slurm's programs about jobs. Their answers are hints: they are asked seldom, and files decide."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nllgen.errors import MachineError
from nllgen.launch.slurm.patience import ask
from nllgen.launch.slurm.values import parse_config, parse_fields, parse_indices, parse_number

_PATIENCE_S = 30.0
_SACCT_S = 10.0
HINT_S = 5.0  # where somebody waits at the terminal
# states of jobs that will run or are running
_LIVE = frozenset(
    (
        *("PENDING", "RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED"),
        *("RESIZING", "SIGNALING", "SPECIAL_EXIT", "STAGE_OUT", "STOPPED"),
    )
)
_OUTER_JOB = ("SLURM_", "SBATCH_", "SRUN_", "SQUEUE_", "SINFO_", "SACCT_", "SALLOC_", "SUBMITIT_")


@dataclass(frozen=True)
class Queued:
    """A line of squeue: a job, an array, or elements of one."""

    id: str  # number of the job or array
    elements: range | tuple[int, ...]  # indices of the elements on this line; empty for a job that is no array
    name: str
    state: str  # in Slurm's words, such as ``PENDING``
    reason: str  # why it waits, or where it runs


def run_program(command: Sequence[str], timeout_s: float, environment: Mapping[str, str], hint: str = "") -> str:
    """Run a program that only reads, in English, and return its standard output.

    After the timeout, the program and its children are killed. A failure is reported with the hint.

    Raises:
        MachineError: the program is missing, fails, or does not answer in time.
    """
    program = command[0]
    if shutil.which(program) is None:
        raise MachineError(f"{program} is not on PATH", hint)
    try:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**environment, "LC_ALL": "C"},
            start_new_session=True,  # a wrapper's children are killed with it
        )
    except OSError as error:
        raise MachineError(f"{program} cannot be run: {error.strerror or error}", hint) from error
    try:
        output, errors = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise MachineError(f"{program} did not answer in {timeout_s:g} s", hint) from error
    finally:
        _kill(process)
    if process.returncode != 0:
        lines = (errors or output).decode(errors="replace").strip().splitlines()
        raise MachineError(f"{program} failed: {lines[-1] if lines else f'exit code {process.returncode}'}", hint)
    return output.decode(errors="replace")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a program that still runs, without waiting for one that hangs in the kernel, as on a dead file server."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=1)
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def run(command: Sequence[str], patience_s: float = _PATIENCE_S) -> str:
    """Run a program of Slurm and return its standard output; where nobody waits, run it again if it fails.

    Raises:
        MachineError: it is not installed, fails, or does not answer in time.
    """
    hint = "run this on a login node of the cluster, or with --local; see: nllgen doctor"
    is_accounting = command[0] in ("sacct", "sacctmgr")
    return ask(lambda: run_program(command, patience_s, _environment(), hint), is_accounting=is_accounting)


def queued(name_begins: str, owner: int | None = None, patience_s: float = _PATIENCE_S) -> list[Queued]:
    """List the waiting and running jobs of this user and of an owner whose name begins with a text.

    Raises:
        MachineError: squeue is missing or does not answer.
    """
    users = ",".join(map(str, dict.fromkeys((os.geteuid(), os.geteuid() if owner is None else owner))))
    output = run(["squeue", "--noheader", f"--user={users}", "--states=all", "--format=%i|%j|%T|%R"], patience_s)
    jobs = [_parse(line) for line in output.splitlines() if line.count("|") >= 3]
    return [job for job in jobs if job.name.startswith(name_begins) and job.state in _LIVE]


def _parse(line: str) -> Queued:
    job, name, state, reason = line.strip().split("|", 3)
    number, _, indices = job.partition("_")
    return Queued(number, tuple(parse_indices(indices)), name, state, reason)


def number_of(job_name: str) -> str:
    """Return the number of the job or array of a name that is one job's; empty if the controller has none.

    Jobs that have ended count, which the controller remembers for some minutes.

    Raises:
        MachineError: squeue is missing or does not answer.
    """
    output = run(["squeue", "--noheader", f"--user={os.geteuid()}", "--states=all", "--format=%F|%j"])
    rows = (line.partition("|") for line in output.splitlines())
    numbers = [number.strip() for number, _, name in rows if name.strip() == job_name]
    return numbers[0] if numbers else ""


def nodes_and_partitions() -> tuple[str, str]:
    """Return ``partition|megabytes`` of each sort of nodes, and the partitions, a line each.

    Raises:
        MachineError: Slurm's programs are missing or do not answer.
    """
    nodes = run(["sinfo", "--noheader", "--exact", "--format=%P|%m"])
    return nodes, run(["scontrol", "show", "partition", "--oneliner"])


def max_array_size() -> int | None:
    """Return the bound that indices of an array stay below; None where Slurm does not answer."""
    with contextlib.suppress(MachineError):
        return parse_number(parse_config(run(["scontrol", "show", "config"])).get("maxarraysize", ""))
    return None


def was_cancelled(job: str) -> bool:
    """Return whether somebody ended a job by scancel, which its processes cannot tell from a preemption.

    The controller is asked: it remembers a job for some minutes and needs no accounting.
    """
    with contextlib.suppress(MachineError):
        return bool(job) and "JobState=CANCELLED" in run(["scontrol", "--oneliner", "show", "job", job])
    return False


@dataclass(frozen=True)
class Ends:
    """Final states of an array's elements."""

    # element, ``<array>_<index>``, or the number of a job that is no array → its state, where it is remembered
    states: dict[str, str]
    are_all: bool  # whether they are sacct's, which forgets only elements that were cancelled while they waited
    exits: dict[str, str] = field(default_factory=dict, compare=False)  # element → ``exit code:signal``


def ends_of(array: str, patience_s: float = _PATIENCE_S) -> Ends:
    """Ask sacct, and the controller, which forgets an element some minutes after its end.

    The waiting rest of an array may have a line of its own under the array's number, which is no job's. Neither
    remembers an element that was cancelled by itself while it waited.
    """
    rows: list[tuple[str, str, str]] = []  # indices, state, exit
    with contextlib.suppress(MachineError):
        for line in _sacct(array, "JobID,State,ExitCode", patience_s=patience_s).splitlines():
            job, state, exited, *_ = [*line.split("|"), "", ""]
            rows.append((job.partition("_")[2], state, exited))
    are_all = bool(rows)  # so far they are sacct's
    with contextlib.suppress(MachineError):
        for line in run(["scontrol", "--oneliner", "show", "job", array], patience_s).splitlines():
            fields = parse_fields(line)
            rows.append((fields.get("ArrayTaskId", ""), fields.get("JobState", ""), fields.get("ExitCode", "")))
    ends: dict[str, str] = {}
    exits: dict[str, str] = {}
    for indices, state, exited in rows:
        elements = [f"{array}_{index}" for index in parse_indices(indices)] or [array]
        ends |= dict.fromkeys(elements, state)
        exits |= dict.fromkeys(elements, exited)
    if len(ends) > 1:
        ends.pop(array, None)
    return Ends(ends, are_all, exits)


def _sacct(job: str, columns: str, *options: str, patience_s: float = _PATIENCE_S) -> str:
    command = ["sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={job}", f"--format={columns}"]
    return run([*command, *options], patience_s)


def sacct_state(start: Mapping[str, Any]) -> str:
    """Return the state in which sacct saw the job of an attempt end, by the line of its start; empty where it has not.

    A job that was requeued has a line for each time that it ran. Only one of them is this attempt's.
    """
    job, restarts = str(start.get("job", "")), start.get("restarts", 0)
    if not job:
        return ""
    try:
        output = _sacct(job, "State", "--duplicates", patience_s=_SACCT_S)
    except MachineError:
        return ""
    states = [line.strip() for line in output.splitlines() if line.strip()]
    if not isinstance(restarts, int) or not 0 <= restarts < len(states):
        return ""
    is_over = states[restarts].split()[0] not in ("RUNNING", "PENDING", "COMPLETING", "RESIZING")
    return states[restarts] if is_over else ""


def cancel(ids: Sequence[str], *, states: Sequence[str] = ()) -> None:
    """Cancel jobs, arrays or elements (``7``, or ``7_3``), or only those in one of some states.

    Raises:
        MachineError: scancel is missing or fails.
    """
    for start in range(0, len(ids), 500):
        for state in states or ("",):
            run(["scancel", *([f"--state={state}"] if state else []), *ids[start : start + 500]])


def _environment() -> dict[str, str]:
    """Copy the environment without an outer job's variables and a user's default options of Slurm's programs."""
    kept = {name: value for name, value in os.environ.items() if not leaks(name)}
    return kept | {"SLURM_BITSTR_LEN": "0"}  # else squeue cuts the elements of an array off after 64 characters


def leaks(name: str) -> bool:
    """Return whether a variable of an outer job would change a nested command; SLURM_CONF is the cluster's."""
    return name.startswith(_OUTER_JOB) and name != "SLURM_CONF"


@contextlib.contextmanager
def without_outer_job() -> Iterator[None]:
    """Hide an outer job's variables from submitit for the length of a block."""
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if leaks(name)}
    try:
        yield
    finally:
        os.environ.update(hidden)
