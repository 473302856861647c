"""Stages become arrays of Slurm through submitit: one sbatch and one pickle each, whatever the number of elements."""

from __future__ import annotations

import re
import shlex
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import DelayedSubmission, FailedJobError, FailedSubmissionError

from nllgen.errors import ConfigError, MachineError
from nllgen.launch.profile import Profile
from nllgen.launch.slurm.arrays import COLLECT, Stage
from nllgen.launch.slurm.commands import without_outer_job
from nllgen.launch.slurm.job_env import STARTED_VARIABLE
from nllgen.study.config import Resources

_COUNTDOWN = 10**9  # submitit would stop requeueing after so many time limits; failures.POLICIES decides instead
_NOT_IN_SCRIPTS = re.compile(r"[\x00-\x1f\x7f%\\]")  # a new line is a command; sbatch puts numbers for the other two
_COLLECT = Resources(time_min=60, memory_gb=2.0, cpus=1, gpus=0)


class OnePickle(submitit.SlurmExecutor):
    """Sends one callable as a whole array.

    A job finds the callable under its own number because its script links it there. So a submitter that is killed after
    sbatch leaves an array that runs, where submitit would still have to rename a pickle for every element.
    """

    def __init__(self, folder: Path, python: str, pickle: Path):
        super().__init__(folder, max_num_timeout=_COUNTDOWN, python=f"exec {shlex.quote(python)}")
        self.pickle = pickle

    def _internal_process_submissions(self, delayed_submissions: list[Any]) -> list[Any]:
        (delayed,) = delayed_submissions
        self.write(delayed)
        return [self._submit_command(self._submitit_command_str)]

    def write(self, delayed: DelayedSubmission) -> None:
        """Put the callable where the array's elements will find it."""
        delayed.set_timeout(self.parameters["time"], _COUNTDOWN)
        delayed.dump(self.pickle)

    def script(self) -> str:
        """The text that sbatch gets."""
        text: str = self._make_submission_file_text(self._submitit_command_str, "")
        return text


@dataclass(frozen=True)
class ArrayOptions:
    """What sbatch is told of one stage.

    Attributes:
        job_name: by which it is found again.
        num_elements: of its array.
        resources: of one element.
        after_ok: numbers of jobs that must have ended well before.
        after_any: numbers of jobs that must have ended before.
    """

    job_name: str
    num_elements: int
    resources: Resources
    after_ok: tuple[str, ...] = ()
    after_any: tuple[str, ...] = ()

    @property
    def dependency(self) -> str | None:
        """In sbatch's words."""
        parts = [f"afterok:{':'.join(self.after_ok)}"] * bool(self.after_ok)
        parts += [f"afterany:{':'.join(self.after_any)}"] * bool(self.after_any)
        return ",".join(parts) or None


def resources_of(stage: Stage, profile: Profile, of_study: Resources, at_once: int) -> Resources:
    """What one element of a stage asks for: as many times a cell's as it runs at once, but for the time."""
    one = profile.resources(of_study)
    if stage.name == COLLECT:
        limit = min(_COLLECT.time_min, one.time_min)
        memory = min(_COLLECT.memory_gb, one.memory_gb * 4)
        return _COLLECT.model_copy(update={"time_min": limit, "memory_gb": memory})
    several = at_once if stage.name.startswith("cells") else 1
    memory = one.memory_gb * several * stage.memory_factor
    return one.model_copy(update={"cpus": one.cpus * several, "memory_gb": memory})


def check_order(folder: Path, profile: Profile, of_study: Resources) -> None:
    """Refuse what Slurm could not be told, before anything is changed.

    Raises:
        ConfigError: the folder has a name that a line of sbatch's script cannot hold, or the time is too short.
    """
    if found := _NOT_IN_SCRIPTS.search(str(folder)):
        raise ConfigError(
            f"Slurm cannot be told of a folder with {found[0]!r} in its name: {str(folder)!r}",
            "give a --root without control characters, % and backslashes",
        )
    profile.resources(of_study)


def executor_for(folder: Path, stage: Stage, array_options: ArrayOptions, profile: Profile, code: Path) -> OnePickle:
    """The executor that sends one stage.

    Args:
        folder: the submission's.
        stage: what is sent.
        order: what sbatch is told.
        profile: of the cluster.
        code: snapshot of the program.

    Raises:
        MachineError: this machine has no Slurm.
    """
    try:
        made = OnePickle(folder, profile.python or sys.executable, folder / f"{stage.name}.pkl")
    except RuntimeError as error:
        raise MachineError(
            "Slurm's commands are not installed here", "run this on a login node of the cluster, or --local"
        ) from error
    options: dict[str, Any] = {name: value for name, value in profile.sbatch.items() if value is not False}
    options |= {"signal": f"B:USR2@{profile.signal_s}", "requeue": True}
    options |= {"kill-on-invalid-dep": "yes"} if array_options.dependency else {}
    resources = array_options.resources
    made.update_parameters(
        job_name=array_options.job_name,
        partition=profile.partition,
        account=profile.account,
        qos=profile.qos,
        constraint=profile.constraint,
        time=resources.time_min,
        mem=f"{round(resources.memory_gb * 1024)}M",
        cpus_per_task=resources.cpus,
        gpus_per_node=resources.gpus or None,
        dependency=array_options.dependency,
        array_parallelism=profile.array_parallelism,
        signal_delay_s=profile.signal_s,
        wckey=None,  # submitit's own default is a key that few clusters know
        stderr_to_stdout=True,
        use_srun=False,
        setup=_setup(folder, made.pickle, profile, code),
        additional_parameters=options,
    )
    made.parameters["map_count"] = array_options.num_elements
    return made


def _setup(folder: Path, pickle: Path, profile: Profile, code: Path) -> list[str]:
    """Lines before the supervisor: a failure in them ends the job instead of going on without."""
    quoted = shlex.quote(str(folder))
    lines = [
        "set -euo pipefail",
        # Slurm's warning may come before the supervisor can hear it, up to a minute early: it must not end the shell
        "trap '' USR2",
        f"export {STARTED_VARIABLE}=$(date +%s)",
        f"test -f {shlex.quote(str(pickle))} || {{ echo 'the study was moved or removed' >&2; exit 75; }}",
        "umask 022",
        # from 22.05 on srun does not take this from sbatch by itself
        'export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"',
        'mine="${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}_submitted.pkl"',
        f'rm -f -- {quoted}/"$mine".save_tmp',
        f'ln -sfn -- {shlex.quote(pickle.name)} {quoted}/"$mine"',
        f'export PYTHONPATH={shlex.quote(str(code))}"${{PYTHONPATH:+:$PYTHONPATH}}"',
        "export PYTHONSAFEPATH=1",  # nothing of the folder that the study was submitted from is run
    ]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in profile.environment.items()]
    return [*lines[:3], *profile.setup, *lines[3:]]


def send(executor: OnePickle, callable_: Any) -> str:
    """Give a stage to the scheduler.

    Returns:
        The number of its array.

    Raises:
        MachineError: sbatch refused it, in its own words.
    """
    try:
        with without_outer_job(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            job = executor.submit(callable_)
    except (FailedJobError, FailedSubmissionError, OSError) as error:
        raise MachineError(
            f"sbatch refused the job: {_words(str(error))}",
            "check the profile against the cluster (nllgen doctor), then run the same command again",
        ) from error
    return str(job.job_id).partition("_")[0]


def _words(text: str) -> str:
    lines = [line for line in text.splitlines() if "sbatch:" in line or "error" in line.lower()]
    return "; ".join(lines[:3] or text.splitlines()[:1])
