"""Supervisors on this machine, started through submitit's local executor."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import submitit

from nllgen.launch.code_snapshot import snapshot
from nllgen.launch.gpus import assign_gpus
from nllgen.launch.supervisor import Supervisor
from nllgen.launch.worker_process import WorkerConfig, isolated
from nllgen.storage.atomic import closed_to_others, make_folder, raise_os_error
from nllgen.storage.provenance import code_sha256
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import tasks_of

_NO_LIMIT_MIN = 60 * 24 * 365  # submitit requires a timeout; local studies have none


def start_local(
    study_dir: StudyDir, worker_config: WorkerConfig, num_workers: int, only: Sequence[str] | None = None
) -> list[Any]:
    """Start supervisors on this machine, one for each of the workers, with one thread each; they outlive this process.

    They run some tasks by name, or every task of the study, with a snapshot of the program. Returns submitit's jobs.

    Raises:
        MachineError: the device does not exist, or the folder cannot be written.
    """
    gpus, worker_device = assign_gpus(worker_config.options.device)
    _remove_stop_files(study_dir, only)
    make_folder(study_dir.submitit)
    code = snapshot(study_dir)
    options = replace(worker_config.options, device=worker_device, code_sha256=code_sha256())
    worker_config = replace(worker_config, code=code, options=options)
    name = f"local-{uuid.uuid4().hex[:8]}"
    # a directory of its own: submitit would run a pickle that lies there under the number of a process that it starts
    submission_dir = make_folder(study_dir.submitit / name)
    supervisor = Supervisor(study_dir.path, name, worker_config, threads=1)
    supervisor.elements = None if only is None else (tuple(only),)
    jobs = []
    with (
        _ignored_by_children(signal.SIGINT, signal.SIGHUP),
        closed_to_others(),
        _detached_from_terminal(study_dir.submitit / "launcher.log"),
        _environment_variables(isolated(code)),
    ):
        for number in range(num_workers):
            executor = submitit.LocalExecutor(folder=submission_dir)
            gpu = gpus[number % len(gpus)] if gpus else None
            numbers = (gpu,) if isinstance(gpu, int) else ()  # submitit knows no UUIDs
            executor.update_parameters(timeout_min=_NO_LIMIT_MIN, gpus_per_node=len(numbers), visible_gpus=numbers)
            supervisor.gpus = (gpu,) if isinstance(gpu, str) else ()
            jobs.append(executor.submit(supervisor))
    return jobs


def failure_of_supervisor(job: Any) -> str | None:
    """Return why the ended supervisor of a job of submitit did not finish, with its log; None if it did."""
    if not job.paths.result_pickle.exists():  # submitit would wait for it
        return f"a supervisor was killed: {job.paths.stderr}"
    error = job.exception()
    if error is None:
        return None
    # submitit puts the traceback between lines of dashes; its last line without indentation names the exception
    trace = str(error).split("-" * 22)[1:2] or [str(error)]
    lines = [line for line in trace[0].splitlines() if line[:1].strip()]
    return f"a supervisor failed: {lines[-1] if lines else error}: {job.paths.stderr}"


def _remove_stop_files(study_dir: StudyDir, only: Sequence[str] | None) -> None:
    if only is None:
        stop_files = [*study_dir.path.glob("cells/*/stop"), *study_dir.path.glob("truths/*/stop*")]
    else:
        stop_files = [task.stop for task in tasks_of(study_dir.read_study(), study_dir) if task.name in only]
    try:
        study_dir.stop.unlink(missing_ok=True)
        for path in stop_files:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise_os_error("remove", study_dir.stop, error)


@contextlib.contextmanager
def _environment_variables(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextlib.contextmanager
def _detached_from_terminal(log: Path) -> Iterator[None]:
    """Replace the standard streams within a block, so that children inherit neither a terminal nor a pipe.

    Otherwise ``nllgen submit | cat`` would end only when the supervisors do.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(fd) for fd in range(3)]
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    files = [os.open(os.devnull, os.O_RDONLY), os.open(log, flags, 0o644)]
    try:
        for fd, file in enumerate((files[0], files[1], files[1])):
            os.dup2(file, fd)
        yield
    finally:
        for fd, file in enumerate(saved):
            os.dup2(file, fd)
        for file in (*saved, *files):
            os.close(file)


@contextlib.contextmanager
def _ignored_by_children(*signals: signal.Signals) -> Iterator[None]:
    """Ignore signals within a block, which children inherit.

    Only the launcher reacts to Ctrl-C, and no supervisor ends when the terminal is closed.
    """
    before = [(number, signal.signal(number, signal.SIG_IGN)) for number in signals]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
