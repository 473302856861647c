"""What Slurm's commands say: parsed, awaited with patience, and asked without an outer job's variables."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nllgen.errors import MachineError
from nllgen.launch import scheduler
from nllgen.launch.scheduler import leaks, max_array_size, queued, run, without_outer_job


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Puts a command of that name on the path."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def make(name: str, script: str) -> None:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return make


@pytest.mark.parametrize(
    ("line", "number", "elements"),
    [
        ("7|nllgen:a:b:truth|RUNNING|node1", "7", ()),
        ("7_3|nllgen:a:b:cells0|RUNNING|node1", "7", (3,)),
        ("7_[0-3,5,8-9%4]|nllgen:a:b:cells0|PENDING|(Dependency)", "7", (0, 1, 2, 3, 5, 8, 9)),
        ("7_[0-8:4]|nllgen:a:b:cells0|PENDING|(None)", "7", (0, 4, 8)),
    ],
)
def test_squeue_s_lines_are_understood(
    command: Callable[[str, str], None], line: str, number: str, elements: tuple[int, ...]
) -> None:
    command("squeue", f"echo '{line}'")
    (found,) = queued("nllgen:a:")
    assert (found.id, found.elements) == (number, elements)


def test_only_live_jobs_of_the_study_count(command: Callable[[str, str], None]) -> None:
    lines = "1|nllgen:a:b:truth|COMPLETED|x\n2|nllgen:ab:b:truth|RUNNING|x\n3|other|RUNNING|x\n4|nllgen:a:b:x|PENDING|x"
    command("squeue", f"printf '{lines}'")
    assert [job.id for job in queued("nllgen:a:")] == ["4"]


def test_a_command_that_is_not_installed_is_an_environment_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MachineError, match="squeue is not installed here"):
        queued("x")


def test_a_command_that_fails_is_quoted(command: Callable[[str, str], None]) -> None:
    command("squeue", "echo 'Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(MachineError, match="Unable to contact slurm controller"):
        queued("x")


def test_a_command_that_hangs_is_given_up(command: Callable[[str, str], None]) -> None:
    command("squeue", "exec sleep 60")
    with pytest.raises(MachineError, match="did not answer in 0 s"):
        run(["squeue"], patience_s=0.2)


def test_the_array_limit_is_the_cluster_s(command: Callable[[str, str], None]) -> None:
    command("scontrol", "echo 'MaxArraySize            = 501'")
    assert max_array_size() == 501
    command("scontrol", "exit 1")
    assert max_array_size() is None


@pytest.mark.parametrize(
    "name", ["SLURM_JOB_ID", "SBATCH_PARTITION", "SQUEUE_FORMAT", "SUBMITIT_EXECUTOR", "SACCT_FORMAT"]
)
def test_an_outer_job_s_variables_leak(name: str) -> None:
    assert leaks(name)


@pytest.mark.parametrize("name", ["SLURM_CONF", "PATH", "HOME", "NLLGEN_ROOT"])
def test_the_cluster_s_own_and_others_do_not(name: str) -> None:
    assert not leaks(name)


def test_commands_are_asked_without_an_outer_job(
    command: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("SLURM_CONF", "here")
    command("squeue", 'echo "7|${SLURM_JOB_ID:-none}|RUNNING|$SLURM_CONF"')
    assert [(job.name, job.reason) for job in queued("none")] == [("none", "here")]


def test_an_outer_job_s_variables_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    with without_outer_job():
        assert "SLURM_JOB_ID" not in os.environ
    assert os.environ["SLURM_JOB_ID"] == "1"


def test_many_jobs_are_cancelled_in_a_few_calls(command: Callable[[str, str], None], tmp_path: Path) -> None:
    command("scancel", f"echo $# >> {tmp_path}/calls")
    scheduler.cancel([str(i) for i in range(1200)], states=("PENDING",))
    assert (tmp_path / "calls").read_text().split() == ["501", "501", "201"]
