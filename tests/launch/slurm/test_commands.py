"""Lines of squeue are parsed, and variables of an outer job are not passed on."""

from __future__ import annotations

import pytest

from nllgen.launch.slurm.commands import leaks, run
from nllgen.launch.slurm.ends import sacct_state, was_cancelled
from nllgen.launch.slurm.queue_lines import parse_line


@pytest.mark.parametrize(
    ("job", "number", "elements"),
    [
        ("7", "7", ()),
        ("7_3", "7", (3,)),
        ("7_[0-3]", "7", (0, 1, 2, 3)),
        ("7_[0-2,5,8-9%4]", "7", (0, 1, 2, 5, 8, 9)),
        ("7_[0-8:4%2]", "7", (0, 4, 8)),
    ],
)
def test_a_line_names_its_elements(job: str, number: str, elements: tuple[int, ...]) -> None:
    found = parse_line(f"{job}|nllgen:a:b:cells0|PENDING|(Dependency)|more")
    assert (found.id, found.elements, found.name, found.state) == (number, elements, "nllgen:a:b:cells0", "PENDING")


@pytest.mark.parametrize("name", ["SLURM_JOB_ID", "SBATCH_PARTITION", "SUBMITIT_EXECUTOR", "SQUEUE_FORMAT"])
def test_variables_of_an_outer_job_are_left_out(name: str) -> None:
    assert leaks(name)


@pytest.mark.parametrize("name", ["SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT"])
def test_what_leads_to_the_cluster_is_not_hidden(name: str) -> None:
    assert not leaks(name)


def test_no_job_was_not_cancelled() -> None:
    assert not was_cancelled("")


def test_squeue_is_told_to_name_every_element_of_a_long_array(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_BITSTR_LEN", "64")
    assert "SLURM_BITSTR_LEN=0" in run(["env"]).splitlines()


def test_an_outer_jobs_variables_do_not_reach_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_CONF", "/c")
    assert run(["sh", "-c", 'echo "$SLURM_JOB_ID|$SLURM_CONF"']) == "|/c\n"


def test_no_job_has_no_state() -> None:
    assert sacct_state({}) == ""
