"""The state of a study and its tasks over time, and their logs while they are written."""

from __future__ import annotations

import codecs
import re
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from nllgen.errors import ConfigError
from nllgen.launch.eta import ThroughputMeter
from nllgen.launch.retry_policy import STARTED, array_of
from nllgen.launch.slurm.arrays import newest_submission
from nllgen.launch.slurm.commands import HINT_S
from nllgen.launch.slurm.sent_jobs import sent_jobs
from nllgen.launch.slurm.waits import wait_lines
from nllgen.launch.status import TaskReport, query_scheduler, status, to_json
from nllgen.launch.tasks import read_attempts
from nllgen.storage.states import TaskStatus
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task, tasks_of
from nllgen.study.config import Study
from nllgen.study.diagnostics import did_you_mean
from nllgen.study.untrusted_files import open_regular

Echo = Callable[[str], None]
_FAILED = (TaskStatus.FAILED, TaskStatus.DAMAGED, TaskStatus.VANISHED)
_ENDED = (TaskStatus.DONE, TaskStatus.DIVERGED, TaskStatus.WEIGHTLESS, *_FAILED, TaskStatus.STOPPED, TaskStatus.STALE)
_BUSY = (TaskStatus.RUNNING, TaskStatus.QUEUED)
_PART_BYTES = 2**20
_POLL_S = 0.5
_QUERY_S = 5.0


def tasks_named(study_dir: StudyDir, study: Study, words: Sequence[str]) -> list[Task]:
    """Return tasks by id, by a unique beginning of an id, or by ``truth`` or ``dataset``.

    Raises:
        ConfigError: no task fits a word, or more than one does; the message names near matches.
    """
    tasks = {task.name: task for task in tasks_of(study, study_dir)}
    selected = {}
    for word in words:
        names = [word] if word in tasks else [name for name in tasks if word and name.startswith(word)]
        if len(names) > 1:
            raise ConfigError(f"{len(names)} ids begin with {word!r}: {', '.join(names[:5])}", "give more of the id")
        if not names:
            hint = f"`nllgen status {study_dir.path}` lists the ids; a unique beginning is enough"
            raise ConfigError(f"study {study.name} has no cell {word!r}{did_you_mean(word, tasks)}", hint)
        selected[names[0]] = tasks[names[0]]
    return list(selected.values())


def query_status(study_dir: StudyDir, study: Study, patience_s: float | None = HINT_S) -> tuple[list[TaskReport], str]:
    """Return the state of every task, and why the scheduler gave no answer; empty where it did."""
    live, trouble = query_scheduler(study_dir, study, patience_s)
    return status(study_dir, study, live), trouble


def is_over(rows: Sequence[TaskReport], trouble: str) -> bool:
    """Return whether no task runs or is queued; False while the scheduler does not answer and results are missing."""
    if all(row.has_result for row in rows):
        return True
    return not trouble and not any(row.status in _BUSY for row in rows)


def has_failed(rows: Sequence[TaskReport]) -> bool:
    """Return True if a task failed, or its result is damaged or gone."""
    return any(row.status in _FAILED for row in rows)


def counts_line(rows: Sequence[TaskReport]) -> str:
    """Return for example ``3 done, 1 running``."""
    return ", ".join(f"{count} {state}" for state, count in to_json(rows)["counts"].items() if count)


def work_done(rows: Sequence[TaskReport]) -> tuple[int, int, float]:
    """Return the number of finished tasks, the number of tasks, and the share of the work that is done, in [0, 1]."""
    num_done = sum(row.has_result for row in rows)
    parts = sum(row.step / row.steps for row in rows if not row.has_result and row.steps)
    return num_done, len(rows), (num_done + parts) / max(1, len(rows))


class ProgressLine(Protocol):
    """A line of overall progress below the lines that stay."""

    def echo(self, text: str) -> None:
        """Print a line that stays."""

    def update(self, num_done: int, num_tasks: int, share: float, seconds_left: float | None) -> None:
        """Update the progress.

        Args:
            num_done: tasks with a result.
            num_tasks: all tasks.
            share: of all work that is done, in [0, 1].
            seconds_left: estimated; None where there is no estimate.
        """


@dataclass
class ChangeReporter:
    """A printer of state changes, one line each."""

    echo: Echo
    hidden: Collection[str] = ()  # states that get no line
    _states: dict[str, TaskStatus] = field(default_factory=dict)
    _trouble: str = ""
    _waits: list[str] = field(default_factory=list)  # last lines about tasks that wait

    def report(self, rows: Sequence[TaskReport], trouble: str = "") -> None:
        """Print a line for every task whose state has changed, and for a change of the scheduler's trouble."""
        if trouble != self._trouble:
            self.echo(trouble or "the scheduler answers again")
            self._trouble = trouble
        waits = wait_lines(row.wait for row in rows if row.wait and row.status not in self.hidden)
        for line in waits if waits != self._waits else ():
            self.echo(f"{time.strftime('%H:%M:%S')}  {line}")
        self._waits = waits
        num_done, num_tasks, _ = work_done(rows)
        for row in rows:
            if row.status != self._states.get(row.name, TaskStatus.WAITING) and row.status not in self.hidden:
                line = f"{row.status:<9} {row.name}  {row.label}  {row.short_detail}".rstrip()
                self.echo(f"{time.strftime('%H:%M:%S')}  [{num_done}/{num_tasks}]  {line}")
            self._states[row.name] = row.status


def watch_changes(
    study_dir: StudyDir, study: Study, progress: AbstractContextManager[ProgressLine]
) -> list[TaskReport]:
    """Print state changes and progress until the study is over; return its last state."""
    with progress as line:
        reporter, meter = ChangeReporter(line.echo), ThroughputMeter(study)
        while True:
            rows, trouble = query_status(study_dir, study)
            reporter.report(rows, trouble)
            if is_over(rows, trouble):
                line.echo(counts_line(rows))
                return rows
            line.update(*work_done(rows), meter.query(rows).seconds_left)
            time.sleep(_QUERY_S)


class Follower:
    """A reader of what is appended to a file, which need not exist yet; a truncated file is read from its start."""

    def __init__(self, path: Path):
        self._path = path
        self._position = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def read(self) -> str:
        """Return the next part of the file; empty if there is none yet."""
        try:
            with open_regular(self._path) as file:
                if file.seek(0, 2) < self._position:
                    self._position = 0
                file.seek(self._position)
                part = file.read(_PART_BYTES)
        except OSError:
            return ""
        self._position += len(part)
        return self._decoder.decode(part)


def job_log(study_dir: StudyDir, task: Task) -> Path:
    """Return the path of what a task's newest job has printed, whether or not it recorded an attempt.

    Raises:
        ConfigError: no job has run the task, or its log is gone.
    """
    lines = read_attempts(task.attempts)
    sent = sent_jobs(study_dir).get(task.name)
    if sent is not None and not any(array_of(line) == sent.array for line in lines) and (outputs := sent.outputs()):
        return outputs[-1]
    jobs = [str(line.get("job", "")) for line in lines if "job" in line or line.get("event") == STARTED]
    job = jobs[-1] if jobs else ""
    if not re.fullmatch(r"[0-9]+(_[0-9]+)?", job):
        reason = "was not run by a job of a scheduler" if jobs else "has not been run"
        is_local = bool(jobs) or newest_submission(study_dir) is None
        hint = f"logs of local supervisors are in {study_dir.submitit}" if is_local else "no job has begun it yet"
        raise ConfigError(f"{task.label} {reason}", f"{hint}; see: nllgen status {study_dir.path}")
    logs = sorted(study_dir.submitit.glob(f"*/{job}_0_log.out"))
    if not logs:
        reason = "it was removed, or the job is starting"
        raise ConfigError(f"the log of job {job} is not in {study_dir.submitit}", reason)
    return logs[-1]


def follow_log(study_dir: StudyDir, study: Study, name: str, path: Path) -> Iterator[str]:
    """Yield a task's log, which need not exist yet, until the task has ended."""
    follower, queried_at, has_ended = Follower(path), -_QUERY_S, False
    while True:
        if time.monotonic() - queried_at >= _QUERY_S:
            queried_at = time.monotonic()
            has_ended = _has_ended(study_dir, study, name)
        while text := follower.read():  # after the query, so that the last lines are read
            yield text
        if has_ended:
            return
        time.sleep(_POLL_S)


def _has_ended(study_dir: StudyDir, study: Study, name: str) -> bool:
    rows, trouble = query_status(study_dir, study)
    row = next(row for row in rows if row.name == name)
    # a job may start the task again where the scheduler gives no answer
    return row.status in _ENDED and (not trouble or row.has_result)
