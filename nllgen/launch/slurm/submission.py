"""A study on a cluster: what is queued already, what has to be sent, and sending it so that a kill loses nothing."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from nllgen.launch.code_snapshot import snapshot, snapshot_folder
from nllgen.launch.lease import LeaseManager
from nllgen.launch.profile import Profile
from nllgen.launch.slurm.arrays import (
    COLLECT,
    Stage,
    Submission,
    SubmissionDir,
    array_turns,
    is_copy,
    job_prefix,
    place_of,
    stages_for,
    submissions,
)
from nllgen.launch.slurm.commands import Queued, max_array_size, queued
from nllgen.launch.slurm.executor import ArrayOptions, check_order, executor_for, resources_of, send
from nllgen.launch.slurm.finalize import Finalizer
from nllgen.launch.supervisor import Supervisor
from nllgen.launch.tasks import is_done, longest_first
from nllgen.launch.worker_process import WorkerConfig
from nllgen.storage.atomic import make_folder
from nllgen.storage.provenance import code_sha256
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task, tasks_of
from nllgen.study.config import Study

_SLURMS_DEFAULT = 1001  # MaxArraySize where nobody says


@dataclass(frozen=True)
class ArrayShape:
    """How cells are spread over elements.

    Attributes:
        pack: cells that run at once in one element.
        workers: elements that lease cells until none is left; 0 gives each element its own.
    """

    pack: int = 1
    workers: int = 0


@dataclass(frozen=True)
class LiveJobs:
    """What the scheduler still has of a study.

    Attributes:
        tasks: name → the state of the job that will run it, or runs it.
        jobs: name of a task → number of its job.
        ids: of all jobs.
        alone: name of a task → the element, ``<array>_<index>``, that waits or runs for it and for no other task.
    """

    tasks: Mapping[str, str]
    jobs: Mapping[str, str]
    ids: tuple[str, ...]
    alone: Mapping[str, str] = field(default_factory=dict)


def query_live_jobs(folder: StudyDir, study: str, patience_s: float | None = None) -> LiveJobs:
    """Ask the scheduler, by name: a submitter that was killed may have noted nothing.

    Args:
        folder: the study's; its owner's jobs are those that count.
        study: its name.
        patience_s: how long to wait for an answer, where not as long as usual.

    Raises:
        MachineError: it is not there or does not answer.
    """
    patience = {} if patience_s is None else {"patience_s": patience_s}
    return match(folder, study, queued(job_prefix(study), folder.path.stat().st_uid, **patience))


def match(folder: StudyDir, study: str, jobs: Sequence[Queued]) -> LiveJobs:
    """Jobs of the scheduler → tasks of this study's submissions.

    A study of the same name elsewhere has other submissions, and to a copy of a folder the original's do not belong.
    """
    by_name: dict[str, list[Queued]] = {}
    for job in jobs:
        by_name.setdefault(job.name, []).append(job)
    tasks: dict[str, str] = {}
    numbers: dict[str, str] = {}
    ids: dict[str, None] = {}
    alone: dict[str, str] = {}
    for submission in (sent for _, sent in submissions(folder) if not is_copy(folder, sent)):
        for stage in (*submission.stages, Stage(COLLECT, ((COLLECT,),))):
            for job in by_name.get(submission.job_name(study, stage), ()):
                ids[job.id] = None
                for element in job.elements[:1] if stage.workers else job.elements or (0,):
                    names = stage.tasks_of(element) if element < stage.num_elements else ()
                    for name in names:
                        if tasks.get(name) != "RUNNING":  # one of several workers that could run it
                            tasks[name], numbers[name] = job.state, job.id
                    if len(names) == 1 and not stage.workers:
                        alone[names[0]] = f"{job.id}_{element}" if job.elements else job.id
    return LiveJobs(tasks, numbers, tuple(ids), alone)


@dataclass(frozen=True)
class SubmitResult:
    """What a submission came to.

    Attributes:
        submission: its record; None where there was nothing to send.
        jobs: stage → number.
        scripts: stage → text for sbatch.
        num_queued: tasks that the scheduler has already.
    """

    submission: Submission | None
    jobs: Mapping[str, str]
    scripts: Mapping[str, str]
    num_queued: int


def to_send(
    folder: StudyDir, study: Study, live: LiveJobs, only: Collection[str] | None, container: str | None
) -> list[Task]:
    """Tasks that are neither done nor queued, the longest first; with those that they need."""
    tasks = longest_first(tasks_of(study, folder), study)
    wanted = {task.name for task in tasks} if only is None else set(only)
    for task in reversed(tasks):  # those that are needed come before
        wanted |= set(task.needs) if task.name in wanted else set()
    return [
        task
        for task in tasks
        if task.name in wanted and task.name not in live.tasks and not is_done(task, study, folder, container)
    ]


def submit(
    folder: StudyDir,
    study: Study,
    profile: Profile,
    setup: WorkerConfig,
    shape: ArrayShape,
    *,
    only: Collection[str] | None = None,
    under: str = "",
    memory_factors: Mapping[str, float] | None = None,
    dry_run: bool = False,
    echo: Callable[[str], None] = lambda text: None,
) -> SubmitResult:
    """Send what is missing of a frozen study. The caller holds the submission lease.

    Args:
        folder: its folder.
        study: as it is frozen.
        profile: of the cluster.
        setup: how workers are started; the snapshot of the program is added here.
        shape: of the arrays.
        only: names of tasks; with what they need.
        under: submission that failures are counted under, where this one continues it.
        memory_factors: task → how many times the memory.
        dry_run: write nothing and send nothing.
        say: told what was sent.

    Raises:
        ConfigError: Slurm cannot be told of this folder, or the time is too short; nothing has been changed.
        MachineError: the scheduler is not there, refuses a job, or a folder cannot be written.
    """
    check_order(folder.path, profile, study.resources)
    live = LiveJobs({}, {}, ()) if dry_run and not folder.is_frozen else query_live_jobs(folder, study.name)
    if not dry_run:
        folder.stop.unlink(missing_ok=True)  # asked for before; it stands where the scheduler could not be asked
    tasks = to_send(folder, study, live, only, setup.options.required_container)
    if not tasks and (not live.tasks or COLLECT in live.tasks):
        return SubmitResult(None, {}, {}, len(live.tasks))
    code = snapshot_folder(folder) if dry_run else snapshot(folder)
    setup = replace(setup, code=code, options=replace(setup.options, code_sha256=code_sha256()))
    record = _record(folder, profile, setup, shape, tasks, under, memory_factors or {})
    where = SubmissionDir(folder.submitit / record.name)
    if not dry_run:
        _write_down(folder, where, record, tasks)
    sender = _Sender(folder, study, profile, setup, shape, record, where, code, dry_run, echo)
    return replace(sender.all(live), num_queued=len(live.tasks))


def _record(
    folder: StudyDir,
    profile: Profile,
    setup: WorkerConfig,
    shape: ArrayShape,
    tasks: Sequence[Task],
    under: str,
    memory_factors: Mapping[str, float],
) -> Submission:
    """What is to be sent."""
    limit = profile.max_array_size or max_array_size() or _SLURMS_DEFAULT
    stages = stages_for(
        tasks, pack=shape.pack, workers=shape.workers, max_elements=limit, memory_factors=memory_factors
    )
    name = uuid.uuid4().hex[:8]
    under = under or (name if tasks else _newest_under(folder, name))
    options = {"setup": setup.to_record(), "shape": asdict(shape), "under": under}
    return Submission(name, stages, profile.model_dump(mode="json"), options)


def _write_down(folder: StudyDir, where: SubmissionDir, record: Submission, tasks: Sequence[Task]) -> None:
    """Record a submission before anything of it is sent, and clear what earlier ones left of its tasks."""
    make_folder(where.path)
    for task in tasks:
        task.stop.unlink(missing_ok=True)  # asked for before
    # whatever happens from now on, it can be found
    where.write(replace(record, options=record.options | {"place": place_of(folder)}))
    for task in tasks:  # no job has them
        LeaseManager().drop_of_gone_job(task.lease)


@dataclass
class _Sender:
    folder: StudyDir
    study: Study
    profile: Profile
    setup: WorkerConfig
    shape: ArrayShape
    record: Submission
    where: SubmissionDir
    code: Path
    dry_run: bool
    echo: Callable[[str], None]

    def all(self, live: LiveJobs) -> SubmitResult:
        """One sbatch a stage, each after those that it needs, and the collection after all of them."""
        numbers: dict[str, str] = dict(live.jobs)
        jobs: dict[str, str] = {}
        scripts: dict[str, str] = {}
        turns = array_turns(self.record.stages, self.profile.array_parallelism)
        for stage in self.record.stages:
            after = tuple(dict.fromkeys(numbers[need] for need in stage.needs if need in numbers))
            turn = (jobs[turns[stage.name]],) if stage.name in turns else ()
            scripts[stage.name], jobs[stage.name] = self._one(stage, self._supervisor(stage), after, turn)
            numbers |= dict.fromkeys(stage.tasks, jobs[stage.name])
        last = Stage(COLLECT, ((COLLECT,),))
        before = tuple(dict.fromkeys([*jobs.values(), *(live.jobs[name] for name in live.jobs if name != COLLECT)]))
        collector = Finalizer(self.folder.path, self.record.name)
        scripts[COLLECT], jobs[COLLECT] = self._one(last, collector, after_any=before)
        return SubmitResult(self.record, jobs, scripts, 0)

    def _supervisor(self, stage: Stage) -> Supervisor:
        at_once = self.shape.pack if stage.name.startswith("cells") else 1
        resources = resources_of(stage, self.profile, self.study.resources, self.shape.pack)
        return Supervisor(
            self.folder.path,
            self.record.options["under"],
            self.setup,
            threads=0,
            at_once=at_once,
            elements=stage.elements,
            time_min=resources.time_min,
            signal_s=self.profile.signal_s,
        )

    def _one(
        self, stage: Stage, callable_: Any, after_ok: tuple[str, ...] = (), after_any: tuple[str, ...] = ()
    ) -> tuple[str, str]:
        resources = resources_of(stage, self.profile, self.study.resources, self.shape.pack)
        name = self.record.job_name(self.study.name, stage)
        array_options = ArrayOptions(name, stage.num_elements, resources, after_ok, after_any)
        executor = executor_for(self.where.path, stage, array_options, self.profile, self.code)
        script = executor.script()
        if self.dry_run:
            return script, f"<{stage.name}>"
        number = send(executor, callable_)
        self.where.add_job(stage.name, number)
        elements = f"{stage.num_elements} element{'s' * (stage.num_elements != 1)}"
        self.echo(f"job {number}: {stage.name}, {elements}, {len(stage.tasks)} to run")
        return script, number


def _newest_under(folder: StudyDir, otherwise: str) -> str:
    """What a collection alone belongs to: its submitter was killed after it had sent all but the collection."""
    sent = submissions(folder)
    return str(sent[-1][1].options.get("under", otherwise)) if sent else otherwise
