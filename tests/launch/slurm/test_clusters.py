"""Studies on other clusters than the machine's own, whose programs are asked where the jobs are."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from nllgen.errors import ConfigError, MachineError
from nllgen.launch.cancel import cancel_study
from nllgen.launch.freeze import freeze
from nllgen.launch.lease import LEASE_S
from nllgen.launch.profile import Profile, parse_profile
from nllgen.launch.slurm import finalize
from nllgen.launch.slurm.arrays import ArrayShape, SubmissionDir, submissions
from nllgen.launch.slurm.clusters import choose_clusters, clusters_of_environment
from nllgen.launch.slurm.ends import sacct_state
from nllgen.launch.slurm.submission import SubmissionRequest, SubmitResult
from nllgen.launch.start import send
from nllgen.launch.status import query_scheduler, status
from nllgen.launch.tasks import read_attempts, record
from nllgen.launch.worker_process import WorkerConfig
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task, tasks_of
from nllgen.study.config import Study
from nllgen.study.run_options import RunOptions
from tests.launch.slurm.stand_in import StandIn

ALPHA = Profile(clusters="alpha")
NUM_JOBS = 5  # of the tiny study: truth, dataset, cells with and without a truth, collection


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    made = StandIn.made(tmp_path / "bin", "alpha", "beta")
    monkeypatch.setenv("PATH", made.path)
    for name in ("SLURM_CLUSTERS", "SBATCH_CLUSTERS", "SLURM_CLUSTER_NAME"):
        monkeypatch.delenv(name, raising=False)
    return made


@pytest.fixture
def folder(tiny: Study, tmp_path: Path, slurm: StandIn) -> StudyDir:
    return freeze(tiny, tmp_path)[0]


def submit(folder: StudyDir, study: Study, profile: Profile = ALPHA) -> SubmitResult:
    return send(SubmissionRequest(folder, study, profile, WorkerConfig(RunOptions(folder.path)), ArrayShape()))


def cell(folder: StudyDir, study: Study) -> Task:
    return tasks_of(study, folder)[2]


def test_jobs_of_another_cluster_are_found_there_and_nothing_is_sent_twice(
    tiny: Study, folder: StudyDir, slurm: StandIn
) -> None:
    assert submit(folder, tiny).submission is not None
    sent = slurm.jobs("alpha")
    again = submit(folder, tiny)
    assert (again.submission, again.num_queued) == (None, 6)
    assert (slurm.jobs("alpha"), slurm.jobs("own")) == (sent, [])


def test_every_program_is_asked_on_the_profiles_cluster(tiny: Study, folder: StudyDir, slurm: StandIn) -> None:
    submit(folder, tiny)
    cancel_study(folder, tiny, now=True)
    for program in ("squeue", "scontrol", "scancel"):
        calls = slurm.calls(program)
        assert calls, program
        assert all("--clusters=alpha" in call for call in calls), calls
    assert sacct_state({"job": "41_0", "cluster": "alpha"}) == ""
    assert "--clusters=alpha" in slurm.calls("sacct")[-1]


def test_the_number_and_the_cluster_that_sbatch_prints_are_noted(tiny: Study, folder: StudyDir, slurm: StandIn) -> None:
    submit(folder, tiny)
    ((submission_dir, _),) = submissions(folder)
    assert set(submission_dir.job_clusters().values()) == {"alpha"}
    assert sorted(submission_dir.job_ids().values()) == sorted(str(job["id"]) for job in slurm.jobs("alpha"))
    live, trouble = query_scheduler(folder, tiny)
    assert (trouble, live is not None and set(live.ids)) == ("", {f"{job['id']};alpha" for job in slurm.jobs("alpha")})


def test_of_several_clusters_all_stages_go_to_the_one_that_sbatch_has_chosen(
    tiny: Study, folder: StudyDir, slurm: StandIn
) -> None:
    submit(folder, tiny, Profile(clusters="alpha,beta"))
    assert (slurm.jobs("alpha"), len(slurm.jobs("beta"))) == ([], NUM_JOBS)
    scripts = [Path(call[-1]).read_text() for call in slurm.calls("sbatch")]
    assert ["--clusters=alpha,beta" in text for text in scripts] == [True, *[False] * (NUM_JOBS - 1)]
    assert submit(folder, tiny, Profile(clusters="alpha,beta")).submission is None


@pytest.mark.parametrize("name", ["SBATCH_CLUSTERS", "SLURM_CLUSTERS"])
def test_the_shells_clusters_are_used_and_remembered_where_the_profile_is_silent(
    tiny: Study, folder: StudyDir, slurm: StandIn, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "beta")
    submit(folder, tiny, Profile())
    assert (slurm.jobs("own"), len(slurm.jobs("beta"))) == ([], NUM_JOBS)
    monkeypatch.delenv(name)
    live, _ = query_scheduler(folder, tiny)
    assert live is not None
    assert len(live.ids) == NUM_JOBS


def test_the_profiles_clusters_come_before_the_shells(
    tiny: Study, folder: StudyDir, slurm: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CLUSTERS", "beta")
    submit(folder, tiny)
    assert (len(slurm.jobs("alpha")), slurm.jobs("beta")) == (NUM_JOBS, [])


def test_sbatch_reads_its_own_variable_first() -> None:
    assert clusters_of_environment({"SBATCH_CLUSTERS": "a,b", "SLURM_CLUSTERS": "c"}) == "a,b"
    assert clusters_of_environment({}) == ""


def test_a_jobs_programs_ask_its_own_cluster(tiny: Study, folder: StudyDir, slurm: StandIn) -> None:
    submit(folder, tiny)
    assert "unset SLURM_CLUSTERS SBATCH_CLUSTERS" in Path(slurm.calls("sbatch")[0][-1]).read_text()


def test_the_option_of_sbatch_is_the_key() -> None:
    assert parse_profile("sbatch: {clusters: alpha, hold: true}\n", "p") == Profile(
        clusters="alpha", sbatch={"hold": True}
    )
    with pytest.raises(ConfigError, match="differ"):
        parse_profile("clusters: beta\nsbatch: {clusters: alpha}\n", "p")


def test_jobs_on_two_clusters_cannot_wait_for_each_other() -> None:
    assert choose_clusters("alpha,beta", ["beta"]) == "beta"
    assert choose_clusters("", []) == ""
    with pytest.raises(ConfigError, match="no dependency between clusters"):
        choose_clusters("alpha", ["beta"])


def test_a_cluster_that_cannot_be_asked_ends_the_submission_in_words(
    tiny: Study, folder: StudyDir, slurm: StandIn
) -> None:
    submit(folder, tiny)
    slurm.replace("squeue", "echo \"squeue: error: No cluster 'alpha' known by database.\" >&2; exit 1")
    with pytest.raises(MachineError, match="No cluster") as caught:
        submit(folder, tiny)
    assert "clusters" in caught.value.hint
    assert len(slurm.jobs("alpha")) == NUM_JOBS


# ---- tasks that the scheduler does not name


def lease(task: Task, job: str, *, age_s: float = 0.0) -> None:
    task.task_dir.path.mkdir(parents=True, exist_ok=True)
    task.lease.write_text(json.dumps({"host": "elsewhere", "process": "1:1", "job": job, "cluster": "gamma"}))
    then = time.time() - age_s
    os.utime(task.lease, (then, then))


def test_a_lease_that_was_renewed_is_not_taken_over_and_its_task_is_not_sent(
    tiny: Study, folder: StudyDir, slurm: StandIn
) -> None:
    task = cell(folder, tiny)
    (slurm.folder / "gamma.json").write_text("[]")
    lease(task, "7_0")
    result = submit(folder, tiny)
    assert task.lease.exists()
    assert list(result.unknown) == [task.name]
    assert "7_0 renewed its lease" in result.unknown_line
    assert result.submission is not None
    assert task.name not in {name for stage in result.submission.stages for name in stage.tasks}
    assert next(
        row for row in status(folder, tiny, query_scheduler(folder, tiny)[0]) if row.name == task.name
    ).detail == ("the scheduler does not name its job 7_0 of gamma, which renewed its lease")


def test_tasks_that_need_an_unknown_one_are_not_sent_either(tiny: Study, folder: StudyDir, slurm: StandIn) -> None:
    (slurm.folder / "gamma.json").write_text("[]")
    lease(tasks_of(tiny, folder)[0], "7")
    result = submit(folder, tiny)
    assert result.submission is not None
    assert len(result.unknown) == 4
    assert len([name for stage in result.submission.stages for name in stage.tasks]) == 1  # it needs no truth


@pytest.mark.parametrize("age_s", [0.0, 2 * LEASE_S])
def test_a_lease_is_dropped_when_it_is_old_or_slurm_says_that_its_job_has_ended(
    tiny: Study, folder: StudyDir, slurm: StandIn, age_s: float
) -> None:
    task = cell(folder, tiny)
    ended = [{"id": "7", "indices": "0", "name": "x", "state": "NODE_FAIL"}] if age_s == 0 else []
    slurm.write_jobs("gamma", ended)
    lease(task, "7_0", age_s=age_s)
    assert not submit(folder, tiny).unknown
    assert not task.lease.exists()


def test_a_job_that_only_squeue_does_not_name_is_not_sent_again(tiny: Study, folder: StudyDir, slurm: StandIn) -> None:
    submit(folder, tiny)
    slurm.replace("squeue", "exit 0")
    result = submit(folder, tiny)
    assert (result.submission, len(result.unknown), len(slurm.jobs("alpha"))) == (None, 5, NUM_JOBS)


def test_a_job_that_the_controller_has_forgotten_is_sent_again(tiny: Study, folder: StudyDir, slurm: StandIn) -> None:
    submit(folder, tiny)
    slurm.write_jobs("alpha", [])
    assert submit(folder, tiny).submission is not None


def test_a_record_of_an_earlier_version_names_its_clusters_among_the_options_of_sbatch(
    tiny: Study, folder: StudyDir, slurm: StandIn
) -> None:
    submit(folder, tiny)
    ((submission_dir, sent),) = submissions(folder)
    old = {name: value for name, value in sent.profile.items() if name != "clusters"} | {
        "sbatch": {"clusters": "alpha"}
    }
    text = json.loads(submission_dir.record.read_text()) | {"profile": old}
    SubmissionDir(submission_dir.path).record.write_text(json.dumps(text))
    live, _ = query_scheduler(folder, tiny)
    assert live is not None
    assert live.clusters == ("alpha",)


def test_the_last_job_does_not_send_again_what_may_run(
    tiny: Study, folder: StudyDir, slurm: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let all jobs end without a trace, but for one whose lease is renewed by a job that nobody names."""
    first = submit(folder, tiny).submission
    assert first is not None
    slurm.write_jobs("alpha", [job | {"state": "COMPLETED"} for job in slurm.jobs("alpha")])
    slurm.write_jobs("gamma", [])
    task = cell(folder, tiny)
    lease(task, "7_0")
    record(task.attempts, event="started", attempt="1-a", submission=first.name, job="7_0")
    monkeypatch.setattr(finalize, "LEASE_S", 0.0)
    monkeypatch.setattr(finalize, "_POLL_S", 0.05)
    assert finalize.Finalizer(folder.path, first.name)._resend(folder, first) > 0
    again = submissions(folder)[-1][1]
    assert task.name not in {name for stage in again.stages for name in stage.tasks}
    assert task.lease.exists()
    assert len(read_attempts(task.attempts)) == 1
