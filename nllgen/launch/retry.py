"""A second try of the tasks of a study that failed or were stopped, where they ran before."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nllgen.errors import ConfigError
from nllgen.launch.gpus import assign_gpus, num_local_workers
from nllgen.launch.local import start_local
from nllgen.launch.notification import notify_when_over
from nllgen.launch.profile import Profile, load_profile
from nllgen.launch.retry_policy import FailureKind, next_memory_factor
from nllgen.launch.slurm.arrays import ArrayShape, Submission, last_memory_factors, newest_submission
from nllgen.launch.slurm.memory_limit import MemoryLimit, memory_limit
from nllgen.launch.slurm.shell_options import with_shell_options
from nllgen.launch.slurm.submission import SubmissionRequest
from nllgen.launch.start import check_place, send
from nllgen.launch.status import TaskReport
from nllgen.launch.tasks import with_needs
from nllgen.launch.trust import require_trust
from nllgen.launch.watch import Echo, query_status, tasks_named
from nllgen.launch.worker_process import WorkerConfig
from nllgen.storage.atomic import set_aside
from nllgen.storage.check_results import check_task
from nllgen.storage.states import Expected, TaskStatus, inspect
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task, tasks_of
from nllgen.storage.visibility import is_there
from nllgen.study.config import Study
from nllgen.study.diagnostics import did_you_mean
from nllgen.study.run_options import RunOptions

_RETRIED = (TaskStatus.FAILED, TaskStatus.STOPPED, TaskStatus.DAMAGED, TaskStatus.STALE, TaskStatus.VANISHED)
_MAX_ROWS = 10


@dataclass(frozen=True)
class RetrySelection:
    """The tasks to send again."""

    rows: tuple[TaskReport, ...]  # reports of tasks that failed or stopped
    waiting: tuple[str, ...]  # names of tasks that never started because they need one of these
    refused: dict[str, str]  # name → why the task is not retried

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of all tasks to send."""
        return (*(row.name for row in self.rows), *self.waiting)


def parse_failure_kinds(words: Sequence[str]) -> frozenset[FailureKind]:
    """Parse kinds of failures as they are typed: ``node failure``, ``node-failure``, ``Node_Failure``.

    Raises:
        ConfigError: there is no such kind.
    """
    return frozenset(_parse_failure_kind(word) for word in words)


def _parse_failure_kind(word: str) -> FailureKind:
    plain = " ".join(word.lower().replace("-", " ").replace("_", " ").split())
    if plain == TaskStatus.DIVERGED:
        raise ConfigError("a cell that diverged has a result and is not tried again", "its history is kept in it")
    try:
        return FailureKind(plain)
    except ValueError:
        hint = f"one of: {', '.join(sorted(FailureKind))}"
        raise ConfigError(
            f"no kind of failure is called {word!r}{did_you_mean(plain, list(FailureKind))}", hint
        ) from None


def select(
    reports: Sequence[TaskReport],
    tasks: Sequence[Task],
    names: Collection[str],
    kinds: Collection[FailureKind],
    wrong: Collection[str] = (),
) -> RetrySelection:
    """Select the tasks to send again among all; no names or no kinds select every one."""
    selected: list[TaskReport] = []
    refused: dict[str, str] = {}
    for report in reports:
        if names and report.name not in names:
            continue
        reason = "" if report.name in wrong else _refusal(report, kinds)
        if not reason:
            selected.append(report)
        elif names or report.status is TaskStatus.DIVERGED:  # a task that was not named is left out silently
            refused[report.name] = reason
    waiting = () if names else _waiting_for({report.name for report in selected}, reports, tasks)
    return RetrySelection(tuple(selected), waiting, refused)


def _refusal(report: TaskReport, kinds: Collection[FailureKind]) -> str:
    if report.status is TaskStatus.DIVERGED:
        return "diverged: that is its result, and it is not tried again"
    if report.status not in _RETRIED:
        return f"is {report.status}"
    if kinds and report.kind not in kinds:
        return f"is {report.status} by {report.kind or 'nothing known'}"
    return ""


def _waiting_for(retried: set[str], reports: Sequence[TaskReport], tasks: Sequence[Task]) -> tuple[str, ...]:
    waiting = {report.name for report in reports if report.status is TaskStatus.WAITING}
    names: list[str] = []
    for task in tasks:  # a task comes after those that it needs
        if task.name in waiting and any(need in retried or need in names for need in task.needs):
            names.append(task.name)
    return tuple(names)


def memory_factors(selection: RetrySelection, study_dir: StudyDir) -> dict[str, float]:
    """Return task → multiple of the profile's memory, if not 1: doubled for tasks that ran out of it."""
    previous = last_memory_factors(study_dir)
    factors = {row.name: next_memory_factor(previous.get(row.name, 1.0), row.kind) for row in selection.rows}
    return {name: factor for name, factor in factors.items() if factor != 1.0}


@dataclass(frozen=True)
class RetryOptions:
    """The options of a retry."""

    assets: Path  # directory of fetched assets
    cells: Sequence[str] = ()  # ids or beginnings of ids; empty for all tasks that failed or were stopped
    kinds: Sequence[str] = ()  # of failure, as typed; empty for all
    profile: str | None = None  # path or name of a cluster's profile; that of the last submission where None
    local: bool = False  # run on this machine
    dry_run: bool = False  # print the tasks and batch scripts, and submit nothing
    trust: bool = False  # accept what the directory would run if this user did not submit it here
    notify: str = ""  # command that the user is told by at the end


def retry_study(study_dir: StudyDir, options: RetryOptions, echo: Echo, warn: Echo) -> None:
    """Run failed and stopped tasks again, under a new submission, so that earlier failures do not count.

    Raises:
        NllgenError: a cell, kind of failure or profile does not exist, or the scheduler refuses.
        UntrustedError: this user did not submit the study here, and does not accept what would run.
    """
    check_place(options.local, options.profile)
    kinds = parse_failure_kinds(options.kinds)
    study = study_dir.read_study()
    study_dir.guard()
    if not options.dry_run:
        require_trust(study_dir, study, accept=options.trust, echo=warn)
    tasks = tasks_named(study_dir, study, options.cells)
    wrong = _set_wrong_aside(study_dir, study, tasks, echo, dry_run=options.dry_run)
    rows, trouble = query_status(study_dir, study, patience_s=None)  # the selection depends on the answer
    if trouble:
        warn(trouble)
    selection = select(rows, tasks_of(study, study_dir), [task.name for task in tasks], kinds, wrong)
    _echo_selection(study_dir, selection, echo, "would try" if options.dry_run else "tries")
    if not selection.rows:
        return
    last = newest_submission(study_dir)
    config = last.worker_config if last else WorkerConfig(RunOptions(options.assets))
    if not options.local and (last is not None or options.profile is not None):
        _retry_on_cluster(study_dir, study, selection, last, config, options, echo)
    elif not options.dry_run:
        _retry_here(study_dir, study, selection, config, options.notify, echo)


def _set_wrong_aside(
    study_dir: StudyDir, study: Study, tasks: Sequence[Task], echo: Echo, *, dry_run: bool
) -> frozenset[str]:
    """Move the files of named tasks aside that do not count; return the names of the tasks that run again.

    A run whose extra metrics alone are wrong keeps its result, and so does a truth whose truth.pt alone is.
    """
    expected = Expected.of(study, study_dir)
    wrong = [file for task in tasks for file in check_task(task, expected)]
    for file in wrong:
        again = "; to measure it again: nllgen evaluate" if file.is_extra_metrics else ""
        echo(f"{file.task.name}: {file.path.name} {file.reason}{again}")
        if not dry_run:
            set_aside(file.counted if is_there(file.counted) else file.task.task_dir.result)
    return frozenset(file.task.name for file in wrong if not file.is_extra_metrics)


def _echo_selection(study_dir: StudyDir, selection: RetrySelection, echo: Echo, verb: str) -> None:
    for name, reason in selection.refused.items():
        echo(f"{name}: {reason}")
    if not selection.rows:
        echo(f"nothing to try again; see: nllgen status {study_dir.path}")
    for row in selection.rows[:_MAX_ROWS]:
        echo(f"{verb} again: {row.name}  {row.label}  ({row.detail})")
    if (more := len(selection.rows) - _MAX_ROWS) > 0:
        echo(f"… and {more} more")
    if selection.waiting:
        echo(f"and {len(selection.waiting)} that wait for them")


def _retry_here(
    study_dir: StudyDir, study: Study, selection: RetrySelection, config: WorkerConfig, notify: str, echo: Echo
) -> None:
    tasks = with_needs(tasks_of(study, study_dir), selection.names)
    expected = Expected.of(study, study_dir, config.options.required_container)
    names = [task.name for task in tasks if inspect(task, expected).state.is_to_run]
    config = replace(config, options=replace(config.options, device="auto"))
    num_workers = min(num_local_workers(len(assign_gpus("auto")[0])), len(names))
    jobs = start_local(study_dir, config, num_workers, names)
    if notify:
        notify_when_over(study_dir, notify, jobs)
    echo(f"{len(jobs)} workers run in the background; next: nllgen status {study_dir.path}")


def _within_limit(factors: dict[str, float], limit: MemoryLimit | None, echo: Echo) -> dict[str, float]:
    if limit is None or all(factor <= limit.factor for factor in factors.values()):
        return factors
    echo(f"not all of the memory that tasks would get: {limit.reason}")
    return {name: min(factor, limit.factor) for name, factor in factors.items()}


def _retry_on_cluster(
    study_dir: StudyDir,
    study: Study,
    selection: RetrySelection,
    last: Submission | None,
    config: WorkerConfig,
    options: RetryOptions,
    echo: Echo,
) -> None:
    """Send the selected tasks as the last submission did, or with another profile."""
    shape = last.shape if last else ArrayShape()
    if last is not None and options.profile is None:
        profile = Profile.of_record(last.profile)
    else:
        profile, notes = with_shell_options(load_profile(options.profile), os.environ)
        for note in notes:
            echo(f"from your shell: {note}")
        config = config.with_profile(profile)
        shape = replace(shape, workers=profile.workers or shape.workers)
    factors = memory_factors(selection, study_dir)
    if any(row.kind is FailureKind.OUT_OF_MEMORY for row in selection.rows):
        factors = _within_limit(factors, memory_limit(profile, study.resources, shape.pack), echo)
    request = SubmissionRequest(
        study_dir,
        study,
        profile,
        config,
        shape,
        only=selection.names,
        memory_factors=factors,
        dry_run=options.dry_run,
        echo=echo,
        notify=options.notify,
    )
    result = send(request)
    if result.unknown:
        echo(result.unknown_line)
    if options.dry_run:
        for stage, script in result.scripts.items():
            echo(f"\n--- sbatch: {stage}\n{script}")
    elif result.submission is None and result.unknown:
        echo(f"nothing sent; next: nllgen status {study_dir.path}")
    elif result.submission is None:
        echo(f"nothing to send: all are queued, running or done by now; see: nllgen status {study_dir.path}")
    else:
        echo(f"sent as {result.submission.name}; next: nllgen status --watch {study_dir.path}")
