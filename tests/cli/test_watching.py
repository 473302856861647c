"""status, logs, cancel and retry without Slurm, with a failing Slurm, and in a copy of a study."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from nllgen.launch.retry_policy import DONE, FAILED, STARTED, STOPPED
from nllgen.launch.slurm.arrays import Stage, Submission, SubmissionDir
from nllgen.launch.tasks import record
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task, tasks_of
from tests.cli.process import USAGE, Run, frozen, refused


@pytest.fixture
def folder(tmp_path: Path) -> StudyDir:
    return StudyDir(frozen(tmp_path))


@pytest.fixture
def task(folder: StudyDir) -> Task:
    """Return the first cell's task, and make its directory."""
    found = tasks_of(folder.read_study(), folder)[0]
    found.task_dir.path.mkdir(parents=True)
    return found


def fail(task: Task, event: str = FAILED, kind: str = "crash") -> None:
    record(task.attempts, event=STARTED, attempt="1", submission="local-1")
    record(task.attempts, event=event, attempt="1", submission="local-1", kind=kind, exit_code=1)


def sent(folder: StudyDir, task: Task) -> None:
    """Record a submission to a cluster."""
    where = SubmissionDir(folder.submitit / "abc")
    where.path.mkdir(parents=True)
    where.write(Submission("abc", (Stage("cells0", ((task.name,),)),)))


@pytest.mark.parametrize(("event", "code"), [(FAILED, 1), (STOPPED, 0)])
def test_status_ends_with_1_only_if_something_failed(
    nllgen_process: Run, folder: StudyDir, task: Task, event: str, code: int
) -> None:
    fail(task, event, "asked" if event == STOPPED else "crash")
    assert nllgen_process("status", folder.path).returncode == code


def test_a_lease_of_another_machine_counts_without_slurm(
    nllgen: Run, folder: StudyDir, task: Task, tmp_path: Path
) -> None:
    sent(folder, task)
    task.lease.write_text(json.dumps({"host": "node7 boot pid", "process": "1:1", "job": "5_0", "restarts": 0}))
    record(task.attempts, event=STARTED, attempt="1", submission="abc", job="5_0")
    found = nllgen("status", folder.path, "--json", PATH=str(tmp_path / "nothing"))
    rows = json.loads(found.stdout)
    assert (rows["tasks"][0]["state"], "squeue" in rows["scheduler"]) == ("running", True)


def test_a_failing_squeue_is_reported_and_files_decide(
    nllgen: Run, folder: StudyDir, task: Task, tmp_path: Path
) -> None:
    sent(folder, task)
    fail(task)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "squeue").write_text("#!/bin/sh\necho slurm is away >&2\nexit 1\n")
    (tmp_path / "bin" / "squeue").chmod(0o755)
    found = nllgen("status", folder.path, PATH=f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    assert ("slurm is away" in found.stderr, "1 failed" in found.stdout) == (True, True)


def test_watching_ends_when_nothing_runs_or_waits_in_a_queue(nllgen: Run, folder: StudyDir, task: Task) -> None:
    fail(task)
    found = nllgen("status", "--watch", folder.path)
    assert (found.returncode, "failed" in found.stdout) == (1, True)


def test_a_log_is_found_by_the_beginning_of_an_id(nllgen_process: Run, folder: StudyDir, task: Task) -> None:
    task.log.write_text("12/20 loss 3\n")
    assert nllgen_process("logs", folder.path, task.name[:9]).stdout == "12/20 loss 3\n"


def test_an_id_that_is_not_there_is_refused_with_the_nearest(nllgen: Run, folder: StudyDir, task: Task) -> None:
    refused(nllgen("logs", folder.path, task.name[:-1] + "zz"), USAGE, "did you mean", task.name)


def test_following_ends_with_the_task(nllgen: Run, folder: StudyDir, task: Task) -> None:
    fail(task)
    task.log.write_text("boom\n")
    assert nllgen("logs", "-f", folder.path, task.name).stdout == "boom\n"


def test_cancelling_leaves_the_stop_file(nllgen_process: Run, folder: StudyDir) -> None:
    assert (nllgen_process("cancel", folder.path).returncode, folder.stop.exists()) == (0, True)


def test_a_cell_that_was_cancelled_before_it_began_is_stopped(nllgen: Run, folder: StudyDir, task: Task) -> None:
    nllgen("cancel", folder.path, task.name)
    rows = json.loads(nllgen("status", folder.path, "--json").stdout)["tasks"]
    assert [row["state"] for row in rows] == ["stopped", "waiting"]


def test_cancelling_without_the_scheduler_says_what_was_not_done(
    nllgen: Run, folder: StudyDir, task: Task, tmp_path: Path
) -> None:
    sent(folder, task)
    refused(nllgen("cancel", folder.path, PATH=str(tmp_path / "nothing")), 3, "not taken back", "login node")
    assert folder.stop.exists()


def test_a_dry_retry_names_what_failed_and_changes_nothing(nllgen_process: Run, folder: StudyDir, task: Task) -> None:
    fail(task)
    before = sorted(folder.path.rglob("*"))
    found = nllgen_process("retry", "--dry-run", folder.path)
    assert (task.name in found.stdout, sorted(folder.path.rglob("*"))) == (True, before)


def test_an_unknown_kind_is_refused_with_all_that_there_are(nllgen: Run, folder: StudyDir) -> None:
    refused(nllgen("retry", folder.path, "--kind", "boredom"), USAGE, "out of memory", "node failure")


def test_status_shows_final_numbers(nllgen_process: Run, mixed_study: StudyDir) -> None:
    shown = nllgen_process("status", mixed_study.path).stdout
    assert "NLL (nats)  KL (nats)" in shown
    assert "507." in shown


def test_status_is_sorted_by_a_number_with_what_has_none_last(nllgen: Run, mixed_study: StudyDir) -> None:
    tasks = json.loads(nllgen("status", mixed_study.path, "--sort", "kl", "--json").stdout)["tasks"]
    values = [task["numbers"].get("kl") for task in tasks]
    assert len(values) == 7
    assert values[:4] == sorted(values[:4])
    assert values[4:] == [None] * 3


def test_json_reads_no_numbers_unless_they_decide_the_order(nllgen: Run, mixed_study: StudyDir) -> None:
    tasks = json.loads(nllgen("status", mixed_study.path, "--json").stdout)["tasks"]
    assert not any("numbers" in task for task in tasks)


@pytest.mark.parametrize(("sort", "first"), [("state", "stopped"), ("progress", "stopped")])
def test_status_is_sorted_by_state_or_progress(
    nllgen: Run, folder: StudyDir, task: Task, sort: str, first: str
) -> None:
    fail(task, STOPPED, "asked")
    task.task_dir.progress.write_text(json.dumps({"done": 1, "total": 2, "saved": 0}))
    rows = json.loads(nllgen("status", folder.path, "--sort", sort, "--json").stdout)["tasks"]
    assert rows[0]["state"] == first


def test_status_is_sorted_by_fid(nllgen: Run, mixed_study: StudyDir) -> None:
    by_fid, by_frechet = (nllgen("status", mixed_study.path, "--sort", sort) for sort in ("fid", "frechet"))
    assert by_fid.returncode == 0
    assert by_fid.stdout == by_frechet.stdout


def test_a_sorted_watch_is_refused(nllgen: Run, folder: StudyDir) -> None:
    refused(nllgen("status", folder.path, "--watch", "--sort", "kl"), USAGE, "--watch and --sort")


def test_a_vanished_result_ends_with_1(nllgen: Run, folder: StudyDir, task: Task) -> None:
    record(task.attempts, event=STARTED, attempt="1", submission="local-1")
    record(task.attempts, event=DONE, attempt="1", submission="local-1")
    done = nllgen("status", folder.path)
    assert done.returncode == 1
    assert "1 vanished, 1 waiting" in done.stdout
