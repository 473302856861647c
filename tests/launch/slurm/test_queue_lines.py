"""Lines of squeue and records of jobs, as several versions of Slurm print them, among text that is not Slurm's."""

from __future__ import annotations

import pytest

from nllgen.errors import MachineError
from nllgen.launch.slurm.queue_lines import is_ended, is_state, parse_line, parse_queue
from nllgen.launch.slurm.values import parse_fields, parse_job_id
from tests.launch.slurm.recorded import RECORDED, recorded

PREFIX = "nllgen:smoke:"
VERSIONS = ("22.05", "23.11", "24.05", "25.05")


def squeue(version: str) -> str:
    return (RECORDED / f"squeue-{version}.txt").read_bytes().decode(errors="replace")


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_gives_the_same_jobs(version: str) -> None:
    queue = parse_queue(squeue(version), PREFIX)
    lines = {(job.name.rpartition(":")[2], job.elements, job.is_waiting) for job in queue.jobs}
    assert lines == {
        ("cells0", (2, 3, 4, 5, 6, 7), True),
        ("cells0", (1,), False),
        ("cells1", (0, 1, 2, 3), True),
        ("collect", (), True),
    }
    assert queue.num_unread == (version == "25.05")


@pytest.mark.parametrize(
    ("version", "reasons"),
    [
        ("22.05", {"JobArrayTaskLimit", "Dependency", "JobHeldUser"}),
        ("23.11", {"Resources", "Dependency", "QOSMaxSubmitJobPerUserLimit"}),
        ("24.05", {"ReqNodeNotAvail, UnavailableNodes:g[01-03]", "Dependency", "AssocGrpGRESRunMinutes"}),
        ("25.05", {"MaxGRESPerAccount", "Dependency", "ReqNodeNotAvail, Reserved for maintenance"}),
    ],
)
def test_the_reason_is_slurms_word(version: str, reasons: set[str]) -> None:
    assert {job.reason for job in parse_queue(squeue(version), PREFIX).jobs if job.is_waiting} == reasons


@pytest.mark.parametrize(
    ("version", "start"),
    [
        ("22.05", ""),
        ("23.11", "2026-07-01T12:00:00"),
        ("24.05", "2026-07-02T08:00:00"),
        ("25.05", "2026-07-08T19:00:00"),
    ],
)
def test_the_expected_start_is_read_where_there_is_one(version: str, start: str) -> None:
    starts = {job.starts_at for job in parse_queue(squeue(version), PREFIX).jobs if job.is_waiting}
    assert starts - {""} == {start} - {""}


def test_headings_name_the_cluster_of_the_lines_below() -> None:
    queue = parse_queue(squeue("24.05"), PREFIX)
    assert {job.cluster for job in queue.jobs} == {"alpha"}
    assert {job.job for job in queue.jobs} == {"41;alpha", "44;alpha", "45;alpha"}
    assert {job.cluster for job in parse_queue(squeue("24.05"), "other").jobs} == {"beta"}


def test_foreign_lines_are_skipped_and_counted() -> None:
    text = "Welcome!\nmotd: 3 | 4\n7_0|nllgen:smoke:x:cells0|RUNNING|n1|N/A\n*|a|b|c|d\n\n"
    queue = parse_queue(text, PREFIX)
    assert (len(queue.jobs), queue.num_unread) == (1, 3)


@pytest.mark.parametrize(
    "line",
    [
        "7_[0-3,...]|nllgen:smoke:x:cells0|PENDING|(Priority)|N/A",
        "7_|nllgen:smoke:x:cells0|PENDING|(Priority)",
        "seven|nllgen:smoke:x:cells0|PENDING|(Priority)",
        "7_0|nllgen:smoke:x:cells0",
    ],
)
def test_a_line_of_this_study_that_cannot_be_read_is_an_error_in_words(line: str) -> None:
    with pytest.raises(MachineError, match="a line of this study that cannot be read") as caught:
        parse_queue(line, PREFIX)
    assert "report this line" in caught.value.hint


def test_a_reason_may_have_bars_and_the_start_may_be_absent() -> None:
    job = parse_line("7|nllgen:a:b:c|PENDING|(a|b)|2026-07-01T12:00:00")
    assert (job.reason, job.starts_at) == ("a|b", "2026-07-01T12:00:00")
    assert parse_line("7|nllgen:a:b:c|PENDING|(Priority)").reason == "Priority"


def test_a_state_of_a_later_version_is_live() -> None:
    assert [is_ended(state) for state in ("EXPEDITING", "RUNNING", "CANCELLED by 7", "CANCELLED+", "TIMEOUT")] == [
        *(False, False),
        *(True, True, True),
    ]
    assert not is_state("Welcome to the cluster")


@pytest.mark.parametrize("version", VERSIONS)
def test_the_records_of_a_jobs_elements(version: str) -> None:
    """A later version ends them with texts of users, which may look like fields."""
    fields = [parse_fields(line) for line in recorded(f"job-{version}.txt").splitlines()]
    assert {job["ArrayTaskId"].partition("%")[0]: job["JobState"] for job in fields} == {
        "2-7": "PENDING",
        "1": "RUNNING",
        "0": "COMPLETED",
    }


@pytest.mark.parametrize(
    ("output", "job"),
    [
        ("41\n", ("41", "")),
        ("41;alpha\n", ("41", "alpha")),
        ("Submitted batch job 41\n", ("41", "")),
        ("Submitted batch job 41 on cluster alpha\n", ("41", "alpha")),
        ("job 12 of 100 today; quota 5\n2026 maintenance: job 8\n41;alpha\nbye\n", ("41", "alpha")),
        ("Welcome, job 7 is the longest\nSubmitted batch job 41\n", ("41", "")),
        ("Welcome, job 7\n", None),
        ("", None),
    ],
)
def test_the_number_of_a_job_is_read_from_the_documented_forms(output: str, job: tuple[str, str] | None) -> None:
    assert parse_job_id(output) == job
