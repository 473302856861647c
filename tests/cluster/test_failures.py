"""Failures have a kind, are retried by its policy, and are never shown as completed."""

from __future__ import annotations

import pytest

from tests.cluster.scenarios import Early
from tests.cluster.studies import OnCluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def ended(early: Early, name: str) -> OnCluster:
    study: OnCluster = early[name].result()
    return study


def test_a_killed_worker_is_a_crash_that_is_retried_once(early: Early) -> None:
    study = ended(early, "always")
    assert study.ends(study.cells()[0]) == ["crash", "crash"]


@pytest.mark.parametrize("name", ["always", "assetless"])
def test_jobs_of_a_failed_cell_and_its_collection_are_failed(early: Early, name: str) -> None:
    assert list(ended(early, name).job_states().values()) == [{"FAILED"}] * 2


def test_a_failure_of_the_environment_is_not_retried(early: Early) -> None:
    study = ended(early, "assetless")
    assert study.ends(study.cells()[0]) in (["environment"], ["config"])


def test_the_collection_names_the_hole(early: Early) -> None:
    study = ended(early, "assetless")
    logs = "".join(path.read_text() for path in study.folder.submitit.glob("*/*_log.out"))
    assert "is not complete" in logs
    assert study.cells()[0] in logs


def test_a_packed_cell_fails_alone(early: Early) -> None:
    study = ended(early, "once")
    first, second = study.cells()
    assert (study.ends(first), study.ends(second)) == (["crash", "done"], ["done"])
    assert len(study.science()) == 2
    logs = [study.folder.cell(cell).log.read_text() for cell in (first, second)]
    assert "seed 0" in logs[0]
    assert "seed 1" not in logs[0]
    assert "seed 1" in logs[1]
    assert "seed 0" not in logs[1]


def test_a_study_that_is_moved_away_ends_its_jobs_and_is_not_created_again(early: Early) -> None:
    assert not ended(early, "gone").folder.path.exists()
