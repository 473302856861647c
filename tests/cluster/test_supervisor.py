"""Jobs are preempted, cut off, requeued, cancelled and lost with their nodes: the results are those of a calm run."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.cluster.devcluster import Cluster
from tests.cluster.studies import REAL, STEPS, OnCluster, started, wait

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
Make = Callable[..., OnCluster]


def study_on(make: Make, name: str, cluster: Cluster, node: int, **profile: object) -> OnCluster:
    options = {"nodelist": cluster.nodes[node]}
    return make(name, text=REAL, steps=STEPS, profile=profile | {"memory_gb": 0.6}, sbatch=options)


def held(study: OnCluster) -> tuple[str, list[int]]:
    """Submit a study; return its only cell and its held worker."""
    study.submit()
    (cell,) = study.cells()
    return cell, study.hold(cell)


def preempted(study: OnCluster) -> None:
    cell, workers = held(study)
    job = study.cluster.sbatch(
        *("-p", "urgent", "--exclusive", "--mem=0", f"--nodelist={study.cluster.nodes[0]}"), script="sleep 2"
    )
    study.crawl(cell, workers)
    study.cluster.wait_state(job, "COMPLETED")
    study.wait_end()


def requeued(study: OnCluster) -> None:
    cell, workers = held(study)
    study.cluster.scontrol("requeue", study.cell_job())
    study.crawl(cell, workers)
    study.wait_end()


def cancelled(study: OnCluster) -> None:
    cell, workers = held(study)
    study.cluster.run("scancel", study.cell_job())
    study.crawl(cell, workers)
    study.wait_end()


def crashed(study: OnCluster) -> None:
    held(study)
    node = study.cluster.nodes[3]
    job = study.cell_job()
    study.cluster.crash(node)
    wait(lambda: study.cluster.field(job, "Restarts") != ["0"], "the scheduler gives the node up")
    study.cluster.start(node)
    study.cluster.scontrol("update", f"nodename={node}", "state=resume", check=False)
    study.wait_end()


@pytest.fixture(scope="module")
def ordeals(make_study: Make, cluster: Cluster) -> dict[str, OnCluster]:
    """Run four studies at once, each on its own node."""
    made = {
        "preempted": study_on(make_study, "preempted", cluster, 0, partition="preempt"),
        "requeued": study_on(make_study, "requeued", cluster, 1),
        "cancelled": study_on(make_study, "cancelled", cluster, 2),
        "crashed": study_on(make_study, "crashed", cluster, 3),
    }
    with ThreadPoolExecutor() as pool:
        runs = [pool.submit(run, made[run.__name__]) for run in (preempted, requeued, cancelled, crashed)]
        for run in runs:
            run.result()
    return made


@pytest.mark.parametrize(
    ("name", "kinds"),
    [("preempted", {"preempted"}), ("requeued", {"preempted", "lost"}), ("crashed", {"lost", "node failure"})],
)
def test_it_is_done_in_the_end_and_to_the_same_bits(
    ordeals: dict[str, OnCluster], calm: OnCluster, name: str, kinds: set[str]
) -> None:
    study = ordeals[name]
    first, *rest = study.ends(study.cells()[0])
    assert (first in kinds, rest) == (True, ["done"]), study.attempts(study.cells()[0])
    assert study.science() == calm.science()
    assert (study.folder.path / "study.h5").exists()


def test_a_preempted_cell_went_on_from_its_checkpoint(ordeals: dict[str, OnCluster]) -> None:
    study = ordeals["preempted"]
    assert any("resuming at" in line for line in started(study.folder.cell(study.cells()[0]).log.read_text()))


def test_a_cancelled_study_stays_cancelled_until_it_is_submitted_again(
    ordeals: dict[str, OnCluster], calm: OnCluster
) -> None:
    study = ordeals["cancelled"]
    (cell,) = study.cells()
    assert (len(study.ends(cell)), study.queue(), study.science()) == (1, [], {})
    study.submit("--wait")
    assert study.science() == calm.science()
