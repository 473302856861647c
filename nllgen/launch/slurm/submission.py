"""The submission of a study to a cluster: send tasks that are neither done nor queued, so that a kill loses nothing."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from nllgen.errors import MachineError
from nllgen.launch.code_snapshot import snapshot, snapshot_folder
from nllgen.launch.collection import is_uncollected
from nllgen.launch.lease import LEASE_S, LeaseManager
from nllgen.launch.profile import Profile
from nllgen.launch.slurm.arrays import (
    COLLECT,
    COLLECT_STAGE,
    ArrayShape,
    Stage,
    Submission,
    SubmissionDir,
    array_predecessors,
    folder_identity,
    group_into_stages,
    newest_submission,
)
from nllgen.launch.slurm.clusters import choose_clusters, split_names, with_clusters
from nllgen.launch.slurm.commands import max_array_size
from nllgen.launch.slurm.executor import check_submittable, executor_for, resources_of
from nllgen.launch.slurm.live_jobs import LiveJobs, query_live_jobs
from nllgen.launch.slurm.patience import is_transient
from nllgen.launch.slurm.patient_send import send_patiently
from nllgen.launch.slurm.unnamed import tasks_that_may_run
from nllgen.launch.supervisor import Supervisor
from nllgen.launch.tasks import longest_first, with_needs
from nllgen.launch.worker_process import WorkerConfig
from nllgen.storage.atomic import make_folder
from nllgen.storage.provenance import code_sha256
from nllgen.storage.states import Expected, inspect
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task, tasks_of
from nllgen.study.config import Study

_DEFAULT_MAX_ARRAY_SIZE = 1001  # Slurm's own default

# (study folder, name of the submission) → submitit's callable of the last stage, which collects
MakeFinalizer = Callable[[Path, str], Callable[[], str]]


@dataclass(frozen=True)
class SubmissionRequest:
    """A request to send tasks of a frozen study to a cluster."""

    study_dir: StudyDir
    study: Study
    profile: Profile
    worker_config: WorkerConfig  # how workers are started; the snapshot of the program is added when it is sent
    shape: ArrayShape  # distribution of cells over array elements
    only: tuple[str, ...] | None = None  # names of tasks to send, with the tasks that they need; None for all
    charged_to: str = ""  # submission that failures are charged to, if this one continues it; empty for itself
    # task → multiple of the profile's memory, if not 1
    memory_factors: Mapping[str, float] = field(default_factory=dict)
    delays_s: Mapping[str, int] = field(default_factory=dict)  # task → seconds to wait, if not 0
    dry_run: bool = False  # write nothing and send nothing
    notify: str = ""  # command that the user is told by at the end
    echo: Callable[[str], None] = lambda text: None  # prints each job that was sent


@dataclass(frozen=True)
class SubmitResult:
    """The outcome of a submission."""

    submission: Submission | None  # its record; None if there was nothing to send
    scripts: Mapping[str, str]  # stage → text for sbatch
    num_queued: int  # number of tasks that the scheduler had already
    # task → why it may be running although the scheduler does not name it; it was not sent
    unknown: Mapping[str, str] = field(default_factory=dict)

    @property
    def unknown_line(self) -> str:
        """Return which tasks were not sent because they may be running, and what to do; there are some."""
        name, reason = next(iter(self.unknown.items()))
        more = f" and {len(self.unknown) - 1} more" if len(self.unknown) > 1 else ""
        return (
            f"not sent: {name}{more}: {reason}, and squeue does not name it, so that it may be running (on another "
            f"cluster?); run the same command again in {LEASE_S / 60:.0f} minutes"
        )


class NotSentError(MachineError):
    """A submission of which a part was sent: task → why it was not."""

    def __init__(self, refusals: Mapping[str, MachineError], message: str):
        number = f"{len(refusals)} task{' was' if len(refusals) == 1 else 's were'} not sent: " if refusals else ""
        super().__init__(
            f"{number}{message}", "the rest was sent and runs; run the same command again to send what is missing"
        )
        self.refusals = dict(refusals)


def submit(request: SubmissionRequest, make_finalizer: MakeFinalizer) -> SubmitResult:
    """Send the missing tasks of a frozen study. The caller holds the submission lock.

    ``make_finalizer`` makes the callable of the last stage; it is :class:`nllgen.launch.slurm.finalize.Finalizer`.

    Raises:
        ConfigError: Slurm cannot handle the folder's name, the time is too short, or live jobs are on another cluster
            than the profile's; nothing has been changed.
        MachineError: the scheduler is missing or refuses a job, or a folder cannot be written.
    """
    study_dir = request.study_dir
    request = replace(request, profile=with_clusters(request.profile))
    check_submittable(study_dir.path, request.profile, request.study.resources)
    live = LiveJobs({}, {}, ())
    if study_dir.is_frozen or not request.dry_run:
        live = query_live_jobs(study_dir, request.study.name, clusters=request.profile.clusters or "")
    clusters = choose_clusters(request.profile.clusters or "", live.clusters)
    request = replace(request, profile=request.profile.model_copy(update={"clusters": clusters or None}))
    if not request.dry_run:
        study_dir.stop.unlink(missing_ok=True)  # an earlier cancel is over; not removed if the query failed
    tasks = tasks_to_send(request, live)
    unknown = tasks_that_may_run(study_dir, tasks)
    tasks = [task for task in tasks if task.name not in unknown]
    if not tasks and (COLLECT in live.tasks or not (live.tasks or is_uncollected(study_dir, request.study))):
        return SubmitResult(None, {}, len(live.tasks), unknown)
    if not tasks and not live.tasks:
        request.echo("all tasks have a result, and study.h5 lacks some of them: the collection is sent")
    code = snapshot_folder(study_dir) if request.dry_run else snapshot(study_dir)
    options = replace(request.worker_config.options, code_sha256=code_sha256())
    request = replace(request, worker_config=replace(request.worker_config, code=code, options=options))
    record = _make_record(request, tasks)
    submission_dir = SubmissionDir(study_dir.submitit / record.name)
    if not request.dry_run:
        _write_record(study_dir, submission_dir, record, tasks)
    scripts = _Sender(request, record, submission_dir, code).send_all(live, make_finalizer)
    return SubmitResult(record, scripts, len(live.tasks), unknown)


def tasks_to_send(request: SubmissionRequest, live: LiveJobs) -> list[Task]:
    """Return the requested tasks, and those that they need, that have to run and are not queued; the longest first."""
    study, study_dir = request.study, request.study_dir
    expected = Expected.of(study, study_dir, request.worker_config.options.required_container)
    tasks = longest_first(tasks_of(study, study_dir), study)
    wanted = tasks if request.only is None else with_needs(tasks, request.only)
    return [task for task in wanted if task.name not in live.tasks and inspect(task, expected).state.is_to_run]


def _make_record(request: SubmissionRequest, tasks: Sequence[Task]) -> Submission:
    cluster = split_names(request.profile.clusters or "")[0]
    limit = request.profile.max_array_size or max_array_size(cluster) or _DEFAULT_MAX_ARRAY_SIZE
    stages = group_into_stages(tasks, request.shape, limit, request.memory_factors, request.delays_s)
    name = uuid.uuid4().hex[:8]
    # a lone collection continues the newest submission, whose submitter was killed before sending it
    continued = None if tasks else newest_submission(request.study_dir)
    charged_to = request.charged_to or (continued.charged_to if continued else name)
    options = {"setup": request.worker_config.to_record(), "shape": asdict(request.shape), "under": charged_to}
    options |= {"notify": request.notify} if request.notify else {}
    return Submission(name, stages, request.profile.model_dump(mode="json"), options)


def _write_record(
    study_dir: StudyDir, submission_dir: SubmissionDir, record: Submission, tasks: Sequence[Task]
) -> None:
    """Write the record before anything is sent, and remove what earlier submissions left of its tasks."""
    make_folder(submission_dir.path)
    for task in tasks:
        task.stop.unlink(missing_ok=True)  # an earlier cancel is over
    # from now on, jobs can be matched with their tasks
    submission_dir.write(replace(record, options=record.options | {"place": folder_identity(study_dir)}))
    for task in tasks:  # no job has them
        LeaseManager().drop_of_gone_job(task.lease)


@dataclass(frozen=True)
class _Sender:
    request: SubmissionRequest
    record: Submission
    submission_dir: SubmissionDir  # folder of the record, the pickles and the logs
    code: Path

    def send_all(self, live: LiveJobs, make_finalizer: MakeFinalizer) -> dict[str, str]:
        """Send each stage after those that it needs, and the collection after all; return stage → text for sbatch.

        A stage that is refused does not keep those that can run without it, nor the collection.

        Raises:
            NotSentError: some stages were sent, and others were refused.
            MachineError: nothing was sent.
        """
        jobs, scripts, refusals, sender = self._send_stages(live)
        first = next(iter(refusals.values()), None)
        if first is not None and not (jobs or live.jobs):
            raise first
        all_jobs = [*jobs.values(), *(live.jobs[name] for name in live.jobs if name != COLLECT)]
        finalizer = make_finalizer(self.request.study_dir.path, self.record.name)
        try:
            scripts[COLLECT], _, _ = sender._send(COLLECT_STAGE, finalizer, (), tuple(dict.fromkeys(all_jobs)))
        except MachineError as error:
            if not jobs:
                raise
            raise NotSentError(refusals, f"the collection was not sent: {error.message}") from error
        if first is not None:
            raise NotSentError(refusals, first.message) from first
        return scripts

    def _send_stages(self, live: LiveJobs) -> tuple[dict[str, str], dict[str, str], dict[str, MachineError], _Sender]:
        """Send the stages before the collection.

        Returns:
            Job and script of each that was sent, task → refusal, and the sender to the cluster that has the jobs.
        """
        job_of_task: dict[str, str] = dict(live.jobs)
        jobs: dict[str, str] = {}
        scripts: dict[str, str] = {}
        refusals: dict[str, MachineError] = {}
        predecessors = array_predecessors(self.record.stages, self.request.profile.array_parallelism)
        sender = self
        away: MachineError | None = None  # the controller does not answer, which further stages need not find out
        for stage in self.record.stages:
            before = predecessors.get(stage.name)
            while before is not None and before not in jobs:
                before = predecessors.get(before)
            after_ok = tuple(dict.fromkeys(job_of_task[need] for need in stage.needs if need in job_of_task))
            after_any = (jobs[before],) if before is not None else ()
            refusal = away or next((refusals[need] for need in stage.needs if need in refusals), None)
            if refusal is None:
                try:
                    script, number, cluster = sender._send(stage, self._supervisor(stage), after_ok, after_any)
                except MachineError as error:
                    refusal, away = error, error if is_transient(error.message) else None
                else:
                    sender = sender._on(cluster)
                    scripts[stage.name], jobs[stage.name] = script, number
                    job_of_task |= dict.fromkeys(stage.tasks, number)
            if refusal is not None:
                refusals |= dict.fromkeys(stage.tasks, refusal)
        return jobs, scripts, refusals, sender

    def _on(self, cluster: str) -> _Sender:
        """Return a sender to the cluster that sbatch has chosen among several: later stages depend on its jobs."""
        if not cluster:
            return self
        profile = self.request.profile.model_copy(update={"clusters": cluster})
        return replace(self, request=replace(self.request, profile=profile))

    def _supervisor(self, stage: Stage) -> Supervisor:
        request = self.request
        time_min = request.profile.resources(request.study.resources).time_min
        at_once = request.shape.pack if stage.is_cells else 1
        path, under, config = request.study_dir.path, self.record.charged_to, request.worker_config
        return Supervisor(path, under, config, 0, at_once, stage.elements, time_min, request.profile.signal_s)

    def _send(
        self, stage: Stage, job_function: Callable[[], object], after_ok: Sequence[str], after_any: Sequence[str]
    ) -> tuple[str, str, str]:
        """Send one stage; return its script, the number of its job, a placeholder in a dry run, and its cluster."""
        request = self.request
        resources = resources_of(stage, request.profile, request.study.resources, request.shape.pack)
        name = self.record.job_name(request.study.name, stage)
        path, profile = self.submission_dir.path, request.profile
        at_once, after = request.shape.pack, {"after_ok": after_ok, "after_any": after_any}
        executor = executor_for(path, stage, name, resources, profile, self.code, at_once=at_once, **after)
        script = executor.script()
        if request.dry_run:
            return script, f"<{stage.name}>", ""
        number, cluster = send_patiently(executor, job_function, name, request.echo)
        self.submission_dir.add_job(stage.name, number, cluster)
        elements = f"{stage.num_elements} element{'s' * (stage.num_elements != 1)}"
        place = f" on {cluster}" if cluster else ""
        request.echo(f"job {number}{place}: {stage.name}, {elements}, {len(stage.tasks)} to run")
        return script, number, cluster
