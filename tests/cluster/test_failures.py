"""What fails is named, tried again as its kind deserves, and never shown as completed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from studies import REAL, OnCluster, kill, wait

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
Make = Callable[..., OnCluster]
STEPS = 2000


def killed_always(study: OnCluster) -> None:
    """Every worker that trains is killed."""
    study.submit()
    (cell,) = study.cells()
    for attempt in (1, 2):
        wait(lambda number=attempt: study.is_training(cell, number), f"{study.name}, attempt {attempt}, trains", 150)
        kill(study.workers())
    study.wait_end()


def killed_once(study: OnCluster) -> None:
    """One worker of two in one element is killed."""
    study.submit("--pack", "2")
    victim = study.cells()[0]
    wait(lambda: all(study.is_training(cell) for cell in study.cells()), "both train", 150)
    pids = [pid for pid in study.workers() if _has_open(pid, study.folder.cell(victim).log)]
    assert len(pids) == 1
    kill(pids)
    study.wait_end()


def _has_open(pid: int, path: Path) -> bool:
    return any(file.resolve() == path.resolve() for file in Path(f"/proc/{pid}/fd").iterdir())


def without_assets(study: OnCluster) -> None:
    study.submit()
    study.wait_end()


def folder_gone(study: OnCluster) -> None:
    study.submit()
    wait(lambda: study.is_training(study.cells()[0]), "it trains", 150)
    study.folder.path.rename(study.base / "moved")
    wait(lambda: not study.queue() and not study.workers(), "everybody has noticed", 150)


RUNS = (killed_always, killed_once, without_assets, folder_gone)


@pytest.fixture(scope="module")
def failed(make_study: Make, tmp_path_factory: pytest.TempPathFactory) -> dict[str, OnCluster]:
    """Four failures at the same time."""
    made = {
        "killed_always": make_study("always", text=REAL, steps=STEPS),
        "killed_once": make_study("once", text=REAL, steps=STEPS, seeds=2),
        "without_assets": make_study("assetless", text=REAL, steps=STEPS),
        "folder_gone": make_study("gone", text=REAL, steps=STEPS),
    }
    made["without_assets"].assets = tmp_path_factory.mktemp("no-assets")
    with ThreadPoolExecutor() as pool:
        runs = [
            pool.submit(run, made[run.__name__]) for run in (killed_always, killed_once, without_assets, folder_gone)
        ]
        for run in runs:
            run.result()
    return made


def test_a_killed_worker_is_a_crash_that_is_retried_once(failed: dict[str, OnCluster]) -> None:
    study = failed["killed_always"]
    assert study.ends(study.cells()[0]) == ["crash", "crash"]


@pytest.mark.parametrize("name", ["killed_always", "without_assets"])
def test_jobs_of_a_failed_cell_and_its_collection_are_failed(failed: dict[str, OnCluster], name: str) -> None:
    assert list(failed[name].job_states().values()) == [{"FAILED"}] * 2


def test_what_is_missing_on_the_machine_is_never_retried(failed: dict[str, OnCluster]) -> None:
    study = failed["without_assets"]
    assert study.ends(study.cells()[0]) in (["environment"], ["config"])


def test_the_collection_names_the_hole(failed: dict[str, OnCluster]) -> None:
    study = failed["without_assets"]
    logs = "".join(path.read_text() for path in study.folder.submitit.glob("*/*_log.out"))
    assert "is not complete" in logs
    assert study.cells()[0] in logs


def test_a_packed_cell_fails_alone(failed: dict[str, OnCluster]) -> None:
    study = failed["killed_once"]
    first, second = study.cells()
    assert (study.ends(first), study.ends(second)) == (["crash", "done"], ["done"])
    assert len(study.science()) == 2
    logs = [study.folder.cell(cell).log.read_text() for cell in (first, second)]
    assert "seed 0" in logs[0]
    assert "seed 1" not in logs[0]
    assert "seed 1" in logs[1]
    assert "seed 0" not in logs[1]


def test_a_study_that_is_taken_away_ends_its_jobs_and_does_not_come_back(failed: dict[str, OnCluster]) -> None:
    assert not failed["folder_gone"].folder.path.exists()
