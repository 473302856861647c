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
from nllgen.launch.sbatch_options import GPU_OPTIONS, multiplied
from nllgen.launch.secrets import require_variables
from nllgen.launch.slurm.arrays import COLLECT, Stage
from nllgen.launch.slurm.clusters import split_names
from nllgen.launch.slurm.commands import query_queue, submit_script
from nllgen.launch.slurm.job_script import script_lines
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

    @property
    def clusters(self) -> tuple[str, ...]:
        """Return the clusters that the job may go to; an empty name is the machine's own."""
        return split_names(str(self.parameters["additional_parameters"].get("clusters", "")))

    def _queued_id(self) -> tuple[str, str]:
        """Return number and cluster of the job that sbatch accepted without printing a number: its name is unique."""
        name: str = self.parameters["job_name"]
        for job in query_queue(name, clusters=self.clusters).jobs:
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
    """Return the resources of one element: those of a cell, multiplied by what all that run at once need."""
    one = profile.resources(of_study)
    if stage.name == COLLECT:
        limit = min(_COLLECT_RESOURCES.time_min, one.time_min)
        memory = min(_COLLECT_RESOURCES.memory_gb, one.memory_gb * 4)
        return _COLLECT_RESOURCES.model_copy(update={"time_min": limit, "memory_gb": memory})
    num_cells = _cells_at_once(stage, at_once)
    memory = one.memory_gb * num_cells * stage.memory_factor
    gpus = profile.gpus_of_job(one.gpus, num_cells)
    return one.model_copy(update={"cpus": one.cpus * num_cells, "memory_gb": memory, "gpus": gpus})


def _cells_at_once(stage: Stage, at_once: int) -> int:
    return at_once if stage.is_cells else 1


def check_submittable(study_dir: Path, profile: Profile, of_study: Resources) -> None:
    """Check the path of a study, its time limit and the variables of its jobs before anything is changed.

    Raises:
        ConfigError: a batch script cannot hold the path, the time limit is too short, or a variable is not set.
    """
    require_variables(profile.pass_environment)
    if match := _NOT_IN_SCRIPTS.search(str(study_dir)):
        raise ConfigError(
            f"a batch script cannot hold a path with {match[0]!r}: {str(study_dir)!r}",
            "give a --root without control characters, % and backslashes",
        )
    profile.resources(of_study)


def _own_options(stage: Stage, profile: Profile, dependency: str) -> dict[str, Any]:
    """Return the options of sbatch that nllgen sets, and those that have a key of their own in the profile."""
    options = {
        "begin": f"now+{stage.delay_s}" if stage.delay_s else "",
        "clusters": profile.clusters,
        "mail-type": ",".join(profile.mail_type),
        "mail-user": profile.mail_user,
        "kill-on-invalid-dep": "yes" if dependency else "",
    }
    fixed = {"signal": f"B:USR2@{profile.signal_s}", "requeue": True}
    return fixed | {name: value for name, value in options.items() if value}


def executor_for(
    submission_dir: Path,
    stage: Stage,
    job_name: str,
    resources: Resources,
    profile: Profile,
    code: Path,
    *,
    at_once: int = 1,
    after_ok: Sequence[str] = (),
    after_any: Sequence[str] = (),
) -> OnePickle:
    """Make the executor that sends one stage, of which each element runs ``at_once`` cells, with a program's snapshot.

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
    options = _site_options(profile, resources, _cells_at_once(stage, at_once))
    dependency = _dependency(after_ok, after_any)
    options |= _own_options(stage, profile, dependency)
    executor.update_parameters(
        job_name=job_name,
        partition=profile.partition,
        account=profile.account,
        qos=profile.qos,
        constraint=profile.constraint,
        time=resources.time_min,
        cpus_per_task=resources.cpus,
        dependency=dependency or None,
        array_parallelism=profile.array_parallelism,
        signal_delay_s=profile.signal_s,
        wckey=None,  # submitit's default is a key that few clusters know
        stderr_to_stdout=True,
        use_srun=False,
        setup=script_lines(submission_dir, executor.pickle, profile, code, needs_setup=stage.name != COLLECT),
        additional_parameters=options,
        **_memory_option(profile, resources),
    )
    executor.parameters["map_count"] = stage.num_elements
    return executor


def _dependency(after_ok: Sequence[str], after_any: Sequence[str]) -> str:
    """Return sbatch's words for jobs that must have succeeded, and for jobs that must have ended; may be empty."""
    conditions = {"afterok": after_ok, "afterany": after_any}
    return ",".join(":".join([name, *jobs]) for name, jobs in conditions.items() if jobs)


def _site_options(profile: Profile, resources: Resources, num_cells: int) -> dict[str, Any]:
    """Return the profile's own options and that for GPUs; resources of ``gres`` are multiplied by the cells."""
    options = {name: value for name, value in profile.sbatch.items() if value is not False}
    if not resources.gpus:
        options = {name: value for name, value in options.items() if name not in GPU_OPTIONS}
    gres = [multiplied(str(options.pop("gres")), num_cells)] if "gres" in options else []
    if resources.gpus and profile.gpu_option == "gres":
        gres.append(":".join(filter(None, ("gpu", profile.gpu_type, str(resources.gpus)))))
    elif resources.gpus:
        options["gpus-per-node"] = ":".join(filter(None, (profile.gpu_type, str(resources.gpus))))
    return options | ({"gres": ",".join(gres)} if gres else {})


def _memory_option(profile: Profile, resources: Resources) -> dict[str, str]:
    """Return the option of submitit that asks for the memory, if the site wants one."""
    mebibytes = round(resources.memory_gb * 1024)
    match profile.memory_option:
        case "none":
            return {}
        case "mem":
            return {"mem": f"{mebibytes}M"}
        case "mem-per-gpu" if resources.gpus:
            return {"mem_per_gpu": f"{-(-mebibytes // resources.gpus)}M"}
    return {"mem_per_cpu": f"{-(-mebibytes // resources.cpus)}M"}


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
