"""Freeze a study and start it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import submitit

from nllgen.errors import MachineError
from nllgen.launch.attempt import renewing
from nllgen.launch.code_snapshot import snapshot
from nllgen.launch.gpus import assign_gpus
from nllgen.launch.lease import LEASE_S, LeaseManager
from nllgen.launch.supervisor import Supervisor
from nllgen.launch.worker_process import WorkerConfig, isolated
from nllgen.storage.atomic import closed_to_others, make_folder, raise_os_error, write_bytes
from nllgen.storage.capabilities import require_publishing
from nllgen.storage.provenance import code_sha256
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import tasks_of
from nllgen.study.config import Study
from nllgen.study.extend import extend_study
from nllgen.study.pretrained import pretrained_weights

_PATIENCE_S = LEASE_S + 60.0  # a submitter that died on another machine is known to be dead after a lease
_NO_LIMIT_MIN = 60 * 24 * 365  # submitit's local executor ends a job after a time; a study's is its own affair


def freeze(study: Study, root: Path) -> tuple[StudyDir, Study, int]:
    """Freeze a study in its folder, or let the study that is frozen there grow by the cells that are new.

    Returns:
        The folder, the frozen study, and the number of cells that are new in it.

    Raises:
        ConflictError: the folder's study is another one; nothing was changed.
        MachineError: the folder cannot be made or is writable for others.
    """
    make_folder(root)
    folder = StudyDir(root / study.name)
    if not folder.is_frozen:
        require_publishing(root)
    before, merged = _grown(folder, study)
    if merged != before:
        with submission_lock(folder):
            before, merged = _grown(folder, study)  # what another has frozen meanwhile is not lost
            folder.freeze(merged)
    _install_truth(folder, merged)
    return folder, merged, len(merged.cells) - (len(before.cells) if before else 0)


def _install_truth(folder: StudyDir, study: Study) -> None:
    """Put a pretrained truth where training would have put it, unless it is there and whole."""
    if not study.pretrained or study.truth is None:
        return
    path, weights = folder.truth_weights(study.truth.id), pretrained_weights(study.pretrained)
    make_folder(path.parent)
    try:
        is_there = path.exists() and path.read_bytes() == weights
    except OSError as error:
        raise_os_error("read", path, error)
    if not is_there:
        write_bytes(path, weights)


def _grown(folder: StudyDir, study: Study) -> tuple[Study | None, Study]:
    """What is frozen, and what it becomes."""
    if not folder.is_frozen:
        return None, study
    folder.guard()
    before = folder.read_study()
    return before, extend_study(before, study)


@contextlib.contextmanager
def submission_lock(folder: StudyDir) -> Iterator[None]:
    """Freezing and sending look, decide and write: two at once would lose the cells of one, or send them twice.

    Raises:
        MachineError: another is at it for too long.
    """
    leases, path = LeaseManager(), folder.path.with_name(f".{folder.path.name}.submitting")
    give_up = time.monotonic() + _PATIENCE_S
    while (lease := leases.take(path)) is None:
        if time.monotonic() > give_up:
            raise MachineError(f"somebody else is submitting {folder.path}", f"try again; if nobody is, remove {path}")
        time.sleep(0.05)
    try:
        with renewing(lease):  # thousands of cells may take longer than a lease
            yield
    finally:
        lease.release()


def start_local(
    folder: StudyDir, setup: WorkerConfig, num_workers: int, only: Sequence[str] | None = None
) -> list[Any]:
    """Start supervisors on this machine through submitit, one thread each; they outlive this process.

    Args:
        folder: a frozen study.
        setup: how workers are started; the snapshot of the program is added here.
        num_workers: cells at once.
        only: names of tasks; every task of the study where None.

    Returns:
        submitit's jobs.

    Raises:
        MachineError: there is no such device here.
    """
    gpus, worker_device = assign_gpus(setup.options.device)
    try:
        folder.stop.unlink(missing_ok=True)
        for path in _stops(folder, only):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise_os_error("remove", folder.stop, error)
    make_folder(folder.submitit)
    code = snapshot(folder)
    options = replace(setup.options, device=worker_device, code_sha256=code_sha256())
    setup = replace(setup, code=code, options=options)
    supervisor = Supervisor(folder.path, f"local-{uuid.uuid4().hex[:8]}", setup, threads=1)
    supervisor.elements = None if only is None else (tuple(only),)
    jobs = []
    with (
        _ignored_by_children(signal.SIGINT, signal.SIGHUP),
        closed_to_others(),
        _away_from_the_terminal(folder.submitit / "launcher.log"),
        _with_variables(isolated(code)),
    ):
        for worker_slot in range(num_workers):
            executor = submitit.LocalExecutor(folder=folder.submitit)
            executor.update_parameters(
                timeout_min=_NO_LIMIT_MIN,
                gpus_per_node=1 if gpus else 0,
                visible_gpus=(gpus[worker_slot % len(gpus)],) if gpus else (),
            )
            jobs.append(executor.submit(supervisor))
    return jobs


@contextlib.contextmanager
def _with_variables(variables: Mapping[str, str]) -> Iterator[None]:
    """Give them to the processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _stops(folder: StudyDir, only: Sequence[str] | None) -> list[Path]:
    """The stop files of tasks that are to run now."""
    if only is None:
        return [*folder.path.glob("cells/*/stop"), *folder.path.glob("truths/*/stop*")]
    return [task.stop for task in tasks_of(folder.read_study(), folder) if task.name in only]


def lost(job: Any) -> str | None:
    """Why a job that has ended did so before its supervisor was through, and its log; None where all went well."""
    if not job.paths.result_pickle.exists():  # submitit would wait for it
        return f"a supervisor was killed: {job.paths.stderr}"
    error = job.exception()
    if error is None:
        return None
    # submitit puts the traceback between lines of dashes; its last line that is not indented names the exception
    trace = str(error).split("-" * 22)[1:2] or [str(error)]
    lines = [line for line in trace[0].splitlines() if line[:1].strip()]
    return f"a supervisor failed: {lines[-1] if lines else error}: {job.paths.stderr}"


@contextlib.contextmanager
def _away_from_the_terminal(log: Path) -> Iterator[None]:
    """Children inherit neither terminal nor pipe: ``nllgen submit | cat`` ends when submit does, not when they do."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(fd) for fd in range(3)]
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    files = [os.open(os.devnull, os.O_RDONLY), os.open(log, flags, 0o644)]
    try:
        for fd, file in enumerate((files[0], files[1], files[1])):
            os.dup2(file, fd)
        yield
    finally:
        for fd, file in enumerate(kept):
            os.dup2(file, fd)
        for file in (*kept, *files):
            os.close(file)


@contextlib.contextmanager
def _ignored_by_children(*signals: signal.Signals) -> Iterator[None]:
    """Children inherit that these are ignored: the launcher alone handles a Ctrl-C, and nobody a closed terminal."""
    before = [(number, signal.signal(number, signal.SIG_IGN)) for number in signals]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
