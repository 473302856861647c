"""Slurm's reasons for which jobs wait, in words with what to do."""

from __future__ import annotations

import pytest

from nllgen.launch.slurm.queue_lines import Queued
from nllgen.launch.slurm.wait_reasons import explain
from nllgen.launch.slurm.waits import Wait, wait_lines, why_waiting

NAME = "nllgen:a:b:cells0"


@pytest.mark.parametrize(
    ("reason", "cause", "advice"),
    [
        ("JobHeldUser", "held by its owner", "scontrol release 7"),
        ("JobHeldAdmin", "held by an administrator", "administrators"),
        ("launch failed requeued held", "Slurm holds it", "scontrol release 7"),
        ("job requeued in held state", "Slurm holds it", "scontrol release 7"),
        ("JobHoldMaxRequeue", "Slurm holds it", "scontrol release 7"),
        ("BadConstraints", "no node fits", "will not start"),
        ("ReqNodeNotAvail", "down, drained or reserved", "sinfo -R"),
        ("ReqNodeNotAvail, UnavailableNodes:g[01-03]", "down, drained or reserved", "sinfo -R"),
        (
            "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions",
            "down, drained or reserved",
            "sinfo -R",
        ),
        ("ReqNodeNotAvail, Reserved for maintenance", "maintenance", "shorter time_min"),
        ("Reservation", "reservation has not begun", "scontrol show reservation"),
        ("DependencyNeverSatisfied", "has failed or was cancelled", "will not start"),
        ("Dependency", "waits for jobs", ""),
        ("PartitionTimeLimit", "longer than the partition allows", "lower time_min"),
        ("PartitionNodeLimit", "more nodes or processors", "will not start"),
        ("PartitionDown", "closed", "sinfo -s"),
        ("Priority", "higher priority", ""),
        ("Resources", "free nodes", ""),
        ("JobArrayTaskLimit", "as the profile allows at once", "array_parallelism"),
        ("Licenses", "licence", "scontrol show licenses"),
        ("BeginTime", "start time has not come", ""),
        ("InvalidQOS", "QOS is not valid", "profile's qos"),
        ("QOSMaxSubmitJobPerUserLimit", "the QOS per user on jobs that may be queued", "--workers N"),
        ("QOSMaxJobsPerUserLimit", "the QOS per user on jobs that may run at once", "--workers N"),
        ("AssocMaxJobsLimit", "the account on jobs that may run at once", "--workers N"),
        ("AssocGrpGRES", "the account for all jobs together on GPUs (GRES)", "lower gpus"),
        ("QOSMaxGRESPerUser", "the QOS per user on GPUs (GRES)", "lower gpus"),
        ("MaxGRESPerAccount", "the QOS per account on GPUs (GRES)", "lower gpus"),
        ("QOSMaxCpuPerJobLimit", "more processors than the QOS per job allows", "lower cpus"),
        ("QOSMaxWallDurationPerJobLimit", "more time than", "lower time_min"),
        ("AssocMaxWallDurationPerJobLimit", "more time than the account", "lower time_min"),
        ("AssocGrpCPUMinutesLimit", "the budget of the account for all jobs together", "take another account"),
        ("AssocGrpCPURunMinutesLimit", "times their minutes", "as earlier jobs end"),
        ("QOSMinGRES", "fewer GPUs (GRES) than the QOS demands", "raise gpus"),
        ("QOSMaxMemoryPerUser", "on memory is reached", "lower memory_gb"),
        ("AssocGrpNodeLimit", "on nodes is reached", "as earlier jobs end"),
        ("QOSMaxBillingPerUser", "on resources is reached", "as earlier jobs end"),
    ],
)
def test_a_reason_has_its_cause_and_what_to_do(reason: str, cause: str, advice: str) -> None:
    words = explain(reason, "7")
    assert cause in words.cause
    assert advice in words.advice
    assert bool(words.advice) == bool(advice)


def test_an_unknown_reason_is_shown_as_it_is() -> None:
    assert explain("QuantumNotReady", "7") == ("", "")
    assert why_waiting(Queued("7", (), NAME, "PENDING", "QuantumNotReady")) == "QuantumNotReady"


def test_the_advice_names_the_element_and_its_cluster() -> None:
    line = Queued("7", (3,), NAME, "PENDING", "JobHeldUser", "", "alpha")
    assert why_waiting(line).endswith("scontrol --clusters=alpha release 7_3")
    assert why_waiting(Queued("7", (3, 4), NAME, "PENDING", "JobHeldUser")).endswith("scontrol release 7")


def test_the_expected_start_is_told() -> None:
    line = Queued("7", (), NAME, "PENDING", "Priority", "2026-07-01T12:00:00")
    assert why_waiting(line) == "Priority: jobs of higher priority come first; expected to start 2026-07-01 12:00"


def test_many_tasks_that_wait_for_one_reason_are_one_line() -> None:
    waits = [Wait("JobHeldUser", f"7_{index}", "") for index in range(3)] + [Wait("JobHeldUser", "8", "")]
    waits += [Wait("Priority", "9_0", "2026-07-02T12:00:00"), Wait("Priority", "9_1", "2026-07-01T12:00:00")]
    waits += [Wait("QuantumNotReady", "10_4;alpha", "")]
    assert wait_lines(waits) == [
        "4 wait (job 7, 8): JobHeldUser: held by its owner; to let it start: scontrol release 7,8",
        "2 wait (job 9): Priority: jobs of higher priority come first; the first is expected to start 2026-07-01 12:00",
        "1 waits (job 10_4 on alpha): QuantumNotReady",
    ]
