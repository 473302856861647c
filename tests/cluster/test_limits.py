"""Jobs with less time or memory than their cells need, shared and packed jobs, and a node that does not answer."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cluster.devcluster import PATIENCE_S, Cluster
from tests.cluster.studies import REAL, STEPS, OnCluster, go_on, is_asked_to_stop, kill, processes, started, wait

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
Make = Callable[..., OnCluster]
HELD_S = 50.0
HUNGRY = """
name: NAME
metrics: {every: [], final: [], num_samples: 50, num_train_eval: 50, num_kept: 4}
cells:
  - data: {source: mnist, num_val: 50, num_test: 50}
    flow: {width: 64, blocks: 4}
    paradigm: {name: nll, steps: STEPS, batch_size: 8192}
    seed: SEEDS
"""


def limited(study: OnCluster, begun: threading.Semaphore) -> None:
    """Hold the worker until its job of one minute asks it to stop; then it has the whole grace time to save."""
    study.submit()
    (cell,) = study.cells()
    held = study.hold(cell)
    begun.release()
    wait(lambda: all(map(is_asked_to_stop, held)), "the job asks its worker to stop", every_s=0.05)
    go_on(held)
    study.wait_end()


def hungry(study: OnCluster) -> None:
    study.submit()
    study.wait_end()


def shared(study: OnCluster) -> None:
    study.submit("--workers", "2")
    study.wait_end()


def packed(study: OnCluster) -> dict[str, set[int]]:
    """Return each worker's processors while both train."""
    study.submit("--pack", "2")
    held = [pid for pids in study.hold_all(study.cells()) for pid in pids]
    found = {str(pid): set(os.sched_getaffinity(pid)) for pid in held}
    go_on(held)
    study.wait_end()
    return found


def deaf(study: OnCluster, begun: threading.Semaphore) -> Path:
    """Hold a job until its node is given up and another job has finished the cell; then let it continue."""
    study.submit()
    (cell,) = study.cells()
    held = [*study.hold(cell), *processes("submitit", str(study.folder.submitit))]
    assert len(held) >= 2
    begun.release()
    (node,) = study.cluster.field(study.cell_job(), "NodeList")
    kill(held, signal.SIGSTOP)
    try:
        study.cluster.deaf(node)
        result = study.folder.cell(cell).result
        wait(result.exists, "the successor publishes")
        study.published = (result.stat().st_ino, result.stat().st_mtime_ns)
    finally:
        go_on(held)
    wait(lambda: not study.workers(), "the first worker ends")
    study.cluster.start(node)
    study.cluster.scontrol("update", f"nodename={node}", "state=resume", check=False)
    study.wait_end()
    return result


def unfit(study: OnCluster) -> None:
    """Slow the first cell down so that the second, as long, would not end before the signal."""
    study.submit("--workers", "1")
    wait(study.workers, "the first cell is begun")
    begun = time.monotonic()
    wait(lambda: any(study.is_training(cell) for cell in study.cells()), "it trains", every_s=0.05)
    held = study.workers()
    kill(held, signal.SIGSTOP)
    time.sleep(max(0.0, HELD_S - (time.monotonic() - begun)))
    go_on(held)
    study.wait_end()


def cancelled(study: OnCluster, begun: threading.Semaphore) -> None:
    """Cancel a cell after the signal, in the last minute and a half of its job."""
    study.submit()
    (cell,) = study.cells()
    wait(lambda: study.is_training(cell), "it trains", every_s=0.05)
    begun.release()
    job = study.cell_job()
    study.cluster.run("scancel", "--batch", "--signal=USR2", job)
    study.cluster.run("scancel", job)
    study.wait_end()


def vanished(study: OnCluster) -> None:
    """Kill the first element's shell before it records anything, and cancel the third while it waits."""
    study.submit()
    (job,) = {row[0].partition("_")[0] for row in study.queue() if row[1].endswith("cells0")}
    study.cluster.run("scancel", f"{job}_2")
    study.wait_end()


@pytest.fixture(scope="module")
def studies(make_study: Make, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, OnCluster]:
    """Make the studies. One of them loses a node and has the last two nodes to itself."""
    nodes = cluster.nodes
    died = tmp_path_factory.mktemp("vanished") / "died"
    die = f'[ "$SLURM_ARRAY_TASK_ID" != 0 ] || ! mkdir {died} || kill -KILL $$'

    def make(name: str, *, on: list[str], text: str = REAL, **how: object) -> OnCluster:
        profile = {"memory_gb": 0.6} | dict(how.pop("profile", {}))  # type: ignore[call-overload]
        elsewhere = ",".join(node for node in nodes if node not in on)
        return make_study(name, text=text, profile=profile, sbatch={"exclude": elsewhere}, **how)

    return {
        "limited": make("limited", on=nodes[:2], steps=STEPS, profile={"time_min": 1}),
        "hungry": make("hungry", on=nodes[:2], text=HUNGRY, profile={"memory_gb": 224 / 1024}),
        "unfit": make("unfit", on=nodes[:2], steps=STEPS // 4, seeds=2, profile={"time_min": 3, "signal_s": 90}),
        "cancelled": make("cancelled", on=nodes[:2], steps=20_000, profile={"time_min": 1}),
        "vanished": make("vanished", on=nodes[:2], seeds=3, profile={"setup": [die], "array_parallelism": 1}),
        "shared": make("shared", on=nodes[:2], seeds=8, profile={"setup": ["kill -USR2 $$"]}),
        "packed": make("packed", on=nodes[:2], steps=STEPS, seeds=2),
        "deaf": make("deaf", on=nodes[2:], steps=STEPS),
    }


@pytest.fixture(scope="module")
def seen(studies: dict[str, OnCluster], calm: OnCluster) -> dict[str, object]:
    """Run the studies and return what each function returns."""
    begun = threading.Semaphore(0)
    with ThreadPoolExecutor() as pool:
        # those that race a limit of a minute begin with few beside them: what starts on two cores starts slowly
        runs: dict[str, Future[object]] = {}
        for first in (limited, cancelled, deaf):
            runs[first.__name__] = pool.submit(first, studies[first.__name__], begun)
        for _ in range(3):
            begun.acquire(timeout=PATIENCE_S)
        for each in (unfit, hungry, shared, packed, vanished):
            runs[each.__name__] = pool.submit(each, studies[each.__name__])
        found: dict[str, object] = {name: run.result() for name, run in runs.items()}
    return found | {"calm": calm.science()}


def test_a_cell_longer_than_its_job_goes_on_until_it_is_done(
    studies: dict[str, OnCluster], seen: dict[str, object]
) -> None:
    study = studies["limited"]
    (cell,) = study.cells()
    *cut, last = study.ends(cell)
    assert (set(cut), last) == ({"timeout"}, "done"), study.attempts(cell)
    resumed = [line for line in started(study.folder.cell(cell).log.read_text()) if "resuming at" in line]
    assert resumed, study.attempts(cell)
    assert study.science() == seen["calm"]


def test_a_worker_killed_for_memory_gets_twice_the_memory_twice_and_then_fails(
    studies: dict[str, OnCluster], seen: dict[str, object]
) -> None:
    study = studies["hungry"]
    (cell,) = study.cells()
    assert study.ends(cell) == ["out of memory"] * 3
    jobs = sorted({str(line["job"]).partition("_")[0] for line in study.attempts(cell) if "job" in line}, key=int)
    assert [study.cluster.field(job, "MinMemoryNode") for job in jobs] == [["224M"], ["448M"], ["896M"]]
    assert study.science() == {}


def test_two_workers_run_many_cells_in_one_start_and_survive_an_early_signal(
    studies: dict[str, OnCluster], seen: dict[str, object]
) -> None:
    study = studies["shared"]
    begun = [line for cell in study.cells() for line in study.attempts(cell) if line["event"] == "started"]
    assert len(begun) == len(study.science()) == 8
    assert len({(line["job"], line["restarts"], line["pid"]) for line in begun}) <= 2
    assert {line["job"].partition("_")[2] for line in begun} <= {"0", "1"}


def test_packed_workers_have_processors_of_their_own(studies: dict[str, OnCluster], seen: dict[str, object]) -> None:
    first, second = seen["packed"].values()  # type: ignore[attr-defined]
    assert (len(first), len(second), first & second) == (1, 1, set())
    assert len(studies["packed"].science()) == 2


def test_a_worker_that_continues_after_its_successor_has_published_changes_nothing(
    studies: dict[str, OnCluster], seen: dict[str, object]
) -> None:
    study = studies["deaf"]
    (cell,) = study.cells()
    result = study.folder.cell(cell).result
    assert (result.stat().st_ino, result.stat().st_mtime_ns) == study.published
    assert len(study.attempts(cell)) >= 4
    assert study.science() == seen["calm"]
    assert not list(result.parent.glob("*.part"))


def test_a_cell_too_long_for_the_rest_of_a_job_is_started_in_its_next_start(
    studies: dict[str, OnCluster], seen: dict[str, object]
) -> None:
    study = studies["unfit"]
    one, two = (
        {line["restarts"] for line in study.attempts(cell) if line["event"] == "started"} for cell in study.cells()
    )
    assert 0 in one ^ two  # later starts are not held: how much of one is left over is for the machine to say
    assert [study.ends(cell)[-1] for cell in study.cells()] == ["done"] * 2


def test_a_cell_whose_job_vanished_is_sent_again_and_one_that_was_cancelled_is_not(
    studies: dict[str, OnCluster], seen: dict[str, object]
) -> None:
    study = studies["vanished"]
    assert sorted(study.ends(cell) for cell in study.cells()) == [[], ["done"], ["lost", "done"]]


def test_a_cell_cancelled_while_it_saves_its_state_stays_cancelled(
    studies: dict[str, OnCluster], seen: dict[str, object]
) -> None:
    study = studies["cancelled"]
    (cell,) = study.cells()
    assert (len(study.ends(cell)), study.queue(), study.science()) == (1, [], {})
