"""Slurm arrays through submitit, with one sbatch and one pickle for all elements of a stage."""

from __future__ import annotations

import re
import shlex
import sys
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import DelayedSubmission, JobPaths

from nllgen.errors import ConfigError, MachineError
from nllgen.launch.profile import Profile
from nllgen.launch.slurm.arrays import COLLECT, Stage
from nllgen.launch.slurm.clusters import split_names
from nllgen.launch.slurm.commands import query_queue, submit_script
from nllgen.launch.slurm.job_env import STARTED_VARIABLE
from nllgen.storage.atomic import raise_os_error
from nllgen.study.config import Resources

_MAX_TIMEOUTS = 10**9  # submitit stops requeueing after so many time limits; the retry policy decides instead
_NOT_IN_SCRIPTS = re.compile(r"[\x00-\x1f\x7f%\\]")  # a line break starts a command; sbatch replaces % and backslashes
_COLLECT_RESOURCES = Resources(time_min=60, memory_gb=2.0, cpus=1, gpus=0)


class OnePickle(submitit.SlurmExecutor):
    """An executor that sends one callable as a whole array.

    The script of each element links the pickle under the element's own number. So an array runs even if the submitter
    is killed right after sbatch, whereas submitit would still have to rename a pickle for every element.
    """

    def __init__(self, directory: Path, python: str, pickle: Path):
        super().__init__(directory, max_num_timeout=_MAX_TIMEOUTS, python=f"exec {shlex.quote(python)}")
        self.pickle = pickle

    def write(self, delayed: DelayedSubmission) -> None:
        """Write the pickle of the callable."""
        delayed.set_timeout(self.parameters["time"], _MAX_TIMEOUTS)
        delayed.dump(self.pickle)

    def send(self) -> tuple[str, str]:
        """Pass the script to sbatch, keep it under the job's number as submitit does, and return number and cluster.

        submitit itself takes the first number of what sbatch prints, and kills an sbatch that prints another encoding.
        """
        script = self.folder / f".submission_file_{uuid.uuid4().hex}.sh"
        script.write_text(self.script())
        number, cluster = submit_script(script) or self._queued_id()
        JobPaths(self.folder, number).move_temporary_file(script, "submission_file", keep_as_symlink=True)
        return number, cluster

    def _queued_id(self) -> tuple[str, str]:
        """Return number and cluster of the job that sbatch accepted without printing a number: its name is unique."""
        name: str = self.parameters["job_name"]
        clusters = split_names(str(self.parameters["additional_parameters"].get("clusters", "")))
        for job in query_queue(name, clusters=clusters).jobs:
            if job.name == name:
                return job.id, job.cluster
        raise MachineError(
            "sbatch printed no number of a job, and squeue has no job of this name", "run the same command again"
        )

    def script(self) -> str:
        """Return the text for sbatch."""
        text: str = self._make_submission_file_text(self._submitit_command_str, "")
        return text


def resources_of(stage: Stage, profile: Profile, of_study: Resources, at_once: int) -> Resources:
    """Return the resources of one element: those of a cell, with memory and processors for all that run at once."""
    one = profile.resources(of_study)
    if stage.name == COLLECT:
        limit = min(_COLLECT_RESOURCES.time_min, one.time_min)
        memory = min(_COLLECT_RESOURCES.memory_gb, one.memory_gb * 4)
        return _COLLECT_RESOURCES.model_copy(update={"time_min": limit, "memory_gb": memory})
    num_cells = at_once if stage.is_cells else 1
    memory = one.memory_gb * num_cells * stage.memory_factor
    return one.model_copy(update={"cpus": one.cpus * num_cells, "memory_gb": memory})


def check_submittable(study_dir: Path, profile: Profile, of_study: Resources) -> None:
    """Check the path of a study and its time limit before anything is changed.

    Raises:
        ConfigError: a batch script cannot hold the path, or the time limit is too short.
    """
    if match := _NOT_IN_SCRIPTS.search(str(study_dir)):
        raise ConfigError(
            f"a batch script cannot hold a path with {match[0]!r}: {str(study_dir)!r}",
            "give a --root without control characters, % and backslashes",
        )
    profile.resources(of_study)


def executor_for(
    submission_dir: Path,
    stage: Stage,
    job_name: str,
    resources: Resources,
    profile: Profile,
    code: Path,
    *,
    after_ok: Sequence[str] = (),
    after_any: Sequence[str] = (),
) -> OnePickle:
    """Make the executor that sends one stage with a snapshot of the program.

    It waits until the jobs ``after_ok`` have succeeded and the jobs ``after_any`` have ended.

    Raises:
        MachineError: this machine has no Slurm.
    """
    try:
        executor = OnePickle(submission_dir, profile.python or sys.executable, submission_dir / f"{stage.name}.pkl")
    except RuntimeError as error:
        raise MachineError(
            "Slurm's commands are not installed here", "run this on a login node of the cluster, or --local"
        ) from error
    options: dict[str, Any] = {name: value for name, value in profile.sbatch.items() if value is not False}
    options |= {"signal": f"B:USR2@{profile.signal_s}", "requeue": True}
    options |= {"clusters": profile.clusters} if profile.clusters else {}
    conditions = {"afterok": after_ok, "afterany": after_any}
    dependency = ",".join(":".join([name, *jobs]) for name, jobs in conditions.items() if jobs)
    options |= {"kill-on-invalid-dep": "yes"} if dependency else {}
    executor.update_parameters(
        job_name=job_name,
        partition=profile.partition,
        account=profile.account,
        qos=profile.qos,
        constraint=profile.constraint,
        time=resources.time_min,
        mem=f"{round(resources.memory_gb * 1024)}M",
        cpus_per_task=resources.cpus,
        gpus_per_node=resources.gpus or None,
        dependency=dependency or None,
        array_parallelism=profile.array_parallelism,
        signal_delay_s=profile.signal_s,
        wckey=None,  # submitit's default is a key that few clusters know
        stderr_to_stdout=True,
        use_srun=False,
        setup=_setup(submission_dir, executor.pickle, profile, code),
        additional_parameters=options,
    )
    executor.parameters["map_count"] = stage.num_elements
    return executor


def _setup(submission_dir: Path, pickle: Path, profile: Profile, code: Path) -> list[str]:
    """Return the lines of the script before the supervisor; a failure in them ends the job."""
    quoted = shlex.quote(str(submission_dir))
    lines = [
        "set -euo pipefail",
        # Slurm's signal may come up to a minute early, before the supervisor handles it: it must not end the shell
        "trap '' USR2",
        f"export {STARTED_VARIABLE}=$(date +%s)",
        f"test -f {shlex.quote(str(pickle))} || {{ echo 'the study was moved or removed' >&2; exit 75; }}",
        "umask 022",
        # since 22.05, srun does not inherit this from sbatch
        'export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"',
        'mine="${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}_submitted.pkl"',
        f'rm -f -- {quoted}/"$mine".save_tmp',
        f'ln -sfn -- {shlex.quote(pickle.name)} {quoted}/"$mine"',
        f'export PYTHONPATH={shlex.quote(str(code))}"${{PYTHONPATH:+:$PYTHONPATH}}"',
        "unset SLURM_CLUSTERS SBATCH_CLUSTERS",  # a job's programs ask its own cluster; its record names the others
        "export PYTHONSAFEPATH=1",  # no module of the working directory is imported
    ]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in profile.environment.items()]
    return [*lines[:3], *profile.setup, *lines[3:]]


def send(executor: OnePickle, job_function: Callable[[], object]) -> tuple[str, str]:
    """Send a stage to the scheduler.

    Returns:
        The number of its array, and its cluster; empty for the machine's own.

    Raises:
        MachineError: sbatch refused it; the message has sbatch's reason, and the hint fits it.
    """
    try:
        executor.write(DelayedSubmission(job_function))
        return executor.send()
    except OSError as error:
        raise_os_error("write", executor.folder, error)
