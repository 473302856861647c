"""What Slurm's commands say. They are asked seldom and with patience; their answers are hints, files are the truth."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nllgen.errors import MachineError

_PATIENCE_S = 30.0
HINT_S = 5.0  # for what is nice to know: somebody sits before the screen
_AFTER = "see: nllgen doctor"
# states of jobs that will run or are running
_LIVE = frozenset(
    (
        *("PENDING", "RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED"),
        *("RESIZING", "SIGNALING", "SPECIAL_EXIT", "STAGE_OUT", "STOPPED"),
    )
)


_LEAKING = ("SLURM_", "SBATCH_", "SRUN_", "SQUEUE_", "SINFO_", "SACCT_", "SALLOC_", "SUBMITIT_")


@dataclass(frozen=True)
class Queued:
    """An array, an element of one, or a job that the scheduler still has.

    Attributes:
        id: number of the job or array.
        elements: those that this line speaks of; empty for a job that is no array.
        name: of the job.
        state: in Slurm's words, such as ``PENDING``.
        reason: why it waits, or where it runs.
    """

    id: str
    elements: range | tuple[int, ...]
    name: str
    state: str
    reason: str


def run(command: Sequence[str], patience_s: float = _PATIENCE_S) -> str:
    """What a command of Slurm prints.

    Raises:
        MachineError: it is not installed, fails, or does not answer in time.
    """
    if shutil.which(command[0]) is None:
        raise MachineError(f"{command[0]} is not installed here", "run this on a login node of the cluster, or --local")
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=patience_s, stdin=subprocess.DEVNULL, env=_environment()
        )
    except subprocess.TimeoutExpired as error:
        raise MachineError(
            f"the scheduler did not answer: {command[0]} took more than {patience_s:g} s", f"try again later; {_AFTER}"
        ) from error
    except OSError as error:
        raise MachineError(f"{command[0]} cannot be run: {error.strerror}", _AFTER) from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise MachineError(f"{command[0]} failed: {said[0] if said else f'exit code {done.returncode}'}", _AFTER)
    return done.stdout


def queued(name_begins: str, owner: int | None = None, patience_s: float = _PATIENCE_S) -> list[Queued]:
    """Jobs whose name begins like this, waiting or running.

    Args:
        name_begins: of the job.
        owner: another user whose jobs are wanted beside this user's own.
        patience_s: how long to wait for an answer.

    Raises:
        MachineError: squeue is missing or does not answer.
    """
    format_ = "%i|%j|%T|%R"
    users = ",".join(map(str, dict.fromkeys((os.geteuid(), os.geteuid() if owner is None else owner))))
    output = run(["squeue", "--noheader", f"--user={users}", "--states=all", f"--format={format_}"], patience_s)
    found = [_parse(line) for line in output.splitlines() if line.count("|") >= 3]
    return [job for job in found if job.name.startswith(name_begins) and job.state in _LIVE]


def _parse(line: str) -> Queued:
    job, name, state, reason = line.strip().split("|", 3)
    number, _, rest = job.partition("_")
    return Queued(number, tuple(_elements(rest)), name, state, reason)


def _elements(text: str) -> Iterator[int]:
    """``7`` or ``[0-3,5,8-9:1%4]`` → indices."""
    for part in text.strip("[]").split("%")[0].split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?(?::(\d+))?", part)
        if match:
            first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
            yield from range(first, last + 1, step)


def max_array_size() -> int | None:
    """Indices of an array are below this; None where Slurm does not say."""
    with contextlib.suppress(MachineError):
        match = re.search(r"^MaxArraySize\s*=\s*(\d+)", run(["scontrol", "show", "config"]), re.MULTILINE)
        return int(match[1]) if match else None
    return None


def was_cancelled(job: str) -> bool:
    """Whether somebody ended a job by scancel, which its processes cannot tell from a preemption.

    The controller is asked, which remembers a while and needs no accounting.
    """
    with contextlib.suppress(MachineError):
        return bool(job) and "JobState=CANCELLED" in run(["scontrol", "--oneliner", "show", "job", job])
    return False


@dataclass(frozen=True)
class Ends:
    """How the elements of an array ended.

    Attributes:
        states: element, ``<array>_<index>``, or the number of a job that is no array → its state, where it is
            remembered.
        are_all: whether sacct told them, which forgets only what was cancelled while it waited.
    """

    states: dict[str, str]
    are_all: bool


def ends_of(array: str) -> Ends:
    """Ask sacct, and the controller, which forgets an element some minutes after its end.

    The waiting rest of an array may have a line of its own under the array's number, which is no job's. Neither
    remembers an element that was cancelled by itself while it waited.
    """
    states: list[tuple[str, str]] = []
    with contextlib.suppress(MachineError):
        command = ["sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={array}", "--format=JobID,State"]
        rows = [line.partition("|") for line in run(command).splitlines()]
        states += [(job.partition("_")[2], state) for job, _, state in rows]
    are_all = bool(states)  # so far they are sacct's
    with contextlib.suppress(MachineError):
        for line in run(["scontrol", "--oneliner", "show", "job", array]).splitlines():
            words = dict(word.partition("=")[::2] for word in line.split())
            states.append((words.get("ArrayTaskId", ""), words.get("JobState", "")))
    found: dict[str, str] = {}
    for elements, state in states:
        found |= dict.fromkeys([f"{array}_{element}" for element in _elements(elements)] or [array], state)
    if len(found) > 1:
        found.pop(array, None)
    return Ends(found, are_all)


def cancel(ids: Sequence[str], *, states: Sequence[str] = ()) -> None:
    """Cancel jobs, arrays or elements.

    Args:
        ids: ``7``, or ``7_3``.
        states: only those in one of these states.

    Raises:
        MachineError: scancel is missing or fails.
    """
    for start in range(0, len(ids), 500):
        for state in states or ("",):
            run(["scancel", *([f"--state={state}"] if state else []), *ids[start : start + 500]])


def _environment() -> dict[str, str]:
    """Without what an outer job would say of itself; options of commands that a user has set are kept out as well."""
    kept = {name: value for name, value in os.environ.items() if not leaks(name)}
    return kept | {"SLURM_BITSTR_LEN": "0"}  # else squeue cuts the elements of an array off after 64 characters


def leaks(name: str) -> bool:
    """Whether a variable is an outer job's and would change what a nested command does; SLURM_CONF is the cluster's."""
    return name.startswith(_LEAKING) and name != "SLURM_CONF"


@contextlib.contextmanager
def without_outer_job() -> Iterator[None]:
    """A block in which submitit sees no outer job's variables."""
    taken = {name: os.environ.pop(name) for name in list(os.environ) if leaks(name)}
    try:
        yield
    finally:
        os.environ.update(taken)
