"""What a job may use is less than its cells need, or its cells share it: time, memory, processors, a node's hearing."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from devcluster import Cluster
from studies import REAL, OnCluster, kill, processes, started, wait

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
Make = Callable[..., OnCluster]
HELD_S = 50.0
PATIENCE_S = 500  # the studies run all at once on two cores, whatever else these do
STEPS = 2_000  # about 10 s alone
HUNGRY = """
name: NAME
metrics: {every: [], final: [], num_samples: 50, num_train_eval: 50, num_kept: 4}
cells:
  - data: {source: mnist, num_val: 50, num_test: 50}
    flow: {width: 64, blocks: 4}
    paradigm: {name: nll, steps: STEPS, batch_size: 8192}
    seed: SEEDS
"""


def limited(study: OnCluster) -> None:
    """Its worker is held four fifths of the time until its first job is over, which takes a minute at most."""
    study.submit()
    (cell,) = study.cells()
    wait(lambda: study.is_training(cell), "it trains", PATIENCE_S)
    held = study.workers()
    while not study.ends(cell):
        for number, seconds in ((signal.SIGSTOP, 0.4), (signal.SIGCONT, 0.1)):
            with contextlib.suppress(ProcessLookupError):
                kill(held, number)
            time.sleep(seconds)
    study.wait_end(PATIENCE_S)


def hungry(study: OnCluster) -> None:
    study.submit()
    study.wait_end(PATIENCE_S)


def shared(study: OnCluster) -> None:
    study.submit("--workers", "2")
    study.wait_end(PATIENCE_S)


def packed(study: OnCluster) -> dict[str, set[int]]:
    """Each worker's processors, seen while both train."""
    study.submit("--pack", "2")
    wait(lambda: all(study.is_training(cell) for cell in study.cells()), "both train", PATIENCE_S)
    found = {str(pid): set(os.sched_getaffinity(pid)) for pid in study.workers()}
    study.wait_end(PATIENCE_S)
    return found


def deaf(study: OnCluster) -> Path:
    """The job's processes are held, its node is given up, another finishes the cell; then the first go on."""
    study.submit()
    (cell,) = study.cells()
    wait(lambda: study.is_training(cell), "it trains", PATIENCE_S)
    held = [*study.workers(), *processes("submitit", str(study.folder.submitit))]
    assert len(held) >= 2
    ((job, _, _),) = [row for row in study.queue() if row[1].endswith("cells0")]
    (node,) = study.cluster.field(job, "NodeList")
    kill(held, signal.SIGSTOP)
    try:
        study.cluster.deaf(node)
        result = study.folder.cell(cell).result
        wait(result.exists, "the successor publishes", PATIENCE_S)
        study.published = (result.stat().st_ino, result.stat().st_mtime_ns)
    finally:
        kill(held, signal.SIGCONT)
    wait(lambda: not study.workers(), "the first worker ends", PATIENCE_S)
    study.cluster.start(node)
    study.cluster.scontrol("update", f"nodename={node}", "state=resume", check=False)
    study.wait_end(PATIENCE_S)
    return result


def unfit(study: OnCluster) -> None:
    """The first cell takes so long that the second, which is as long, would not be through before the warning."""
    study.submit("--workers", "1")
    wait(study.workers, "the first cell is begun", PATIENCE_S)
    begun = time.monotonic()
    wait(lambda: any(study.is_training(cell) for cell in study.cells()), "it trains", PATIENCE_S)
    held = study.workers()
    kill(held, signal.SIGSTOP)
    time.sleep(max(0.0, HELD_S - (time.monotonic() - begun)))
    kill(held, signal.SIGCONT)
    study.wait_end(PATIENCE_S)


def cancelled(study: OnCluster) -> None:
    """Within its last minute and a half, when the warning has come."""
    study.submit()
    (cell,) = study.cells()
    wait(lambda: study.is_training(cell), "it trains", PATIENCE_S)
    ((job, _, _),) = [row for row in study.queue() if row[1].endswith("cells0")]
    study.cluster.run("scancel", "--batch", "--signal=USR2", job)
    study.cluster.run("scancel", job)
    study.wait_end(PATIENCE_S)


def vanished(study: OnCluster) -> None:
    """The first element's shell is killed before it leaves a word, and the third is cancelled while it waits."""
    study.submit()
    (job,) = {row[0].partition("_")[0] for row in study.queue() if row[1].endswith("cells0")}
    study.cluster.run("scancel", f"{job}_2")
    study.wait_end(PATIENCE_S)


@pytest.fixture(scope="module")
def studies(make_study: Make, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, OnCluster]:
    nodes = cluster.nodes
    died = tmp_path_factory.mktemp("vanished") / "died"
    die = f'[ "$SLURM_ARRAY_TASK_ID" != 0 ] || ! mkdir {died} || kill -KILL $$'
    early = {"setup": ["kill -USR2 $$"], "memory_gb": 0.6}
    return {
        "limited": make_study("limited", text=REAL, steps=STEPS, profile={"time_min": 1, "memory_gb": 0.6}),
        "hungry": make_study("hungry", text=HUNGRY, profile={"memory_gb": 224 / 1024}),
        "unfit": make_study("unfit", text=REAL, seeds=2, profile={"time_min": 3, "signal_s": 90, "memory_gb": 0.6}),
        "cancelled": make_study("cancelled", text=REAL, steps=20 * STEPS, profile={"time_min": 1, "memory_gb": 0.6}),
        "vanished": make_study(
            "vanished", text=REAL, seeds=3, profile={"setup": [die], "array_parallelism": 1, "memory_gb": 0.6}
        ),
        "shared": make_study("shared", text=REAL, steps=100, seeds=8, profile=early),
        "packed": make_study("packed", text=REAL, steps=STEPS, seeds=2, profile={"memory_gb": 0.6}),
        "deaf": make_study(
            "deaf", text=REAL, steps=STEPS, profile={"memory_gb": 0.6}, sbatch={"exclude": f"{nodes[0]},{nodes[1]}"}
        ),
    }


@pytest.fixture(scope="module")
def seen(studies: dict[str, OnCluster], make_study: Make) -> dict[str, object]:
    """What each saw while it ran."""
    calm = make_study("calm", text=REAL, steps=STEPS)
    found: dict[str, object] = {}
    # those that race a limit of a minute first, with few beside them: what starts on two cores starts slowly
    for several in ((limited, cancelled, deaf), (hungry, shared, packed, unfit, vanished)):
        with ThreadPoolExecutor() as pool:
            runs = {run.__name__: pool.submit(run, studies[run.__name__]) for run in several}
            found |= {name: run.result() for name, run in runs.items()}
    calm.run_locally()
    return found | {"calm": calm.science()}


def test_a_cell_longer_than_its_job_goes_on_until_it_is_done(
    studies: dict[str, OnCluster], seen: dict[str, object]
) -> None:
    study = studies["limited"]
    (cell,) = study.cells()
    *cut, last = study.ends(cell)
    assert (set(cut), last) == ({"timeout"}, "done"), study.attempts(cell)
    assert len([line for line in started(study.folder.cell(cell).log.read_text()) if "resuming at" in line]) >= 1
    assert study.science() == seen["calm"]


def test_a_worker_that_the_kernel_kills_for_memory_gets_twice_as_much_twice_and_is_given_up(
    studies: dict[str, OnCluster], seen: dict[str, object]
) -> None:
    study = studies["hungry"]
    (cell,) = study.cells()
    assert study.ends(cell) == ["out of memory"] * 3
    jobs = sorted({str(line["job"]).partition("_")[0] for line in study.attempts(cell) if "job" in line}, key=int)
    assert [study.cluster.field(job, "MinMemoryNode") for job in jobs] == [["224M"], ["448M"], ["896M"]]
    assert study.science() == {}


def test_few_elements_run_many_cells_each_in_one_start_and_an_early_warning_ends_none(
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


def test_who_comes_back_after_its_successor_has_published_changes_nothing(
    studies: dict[str, OnCluster], seen: dict[str, object]
) -> None:
    study = studies["deaf"]
    (cell,) = study.cells()
    result = study.folder.cell(cell).result
    assert (result.stat().st_ino, result.stat().st_mtime_ns) == study.published
    assert len(study.attempts(cell)) >= 4
    assert study.science() == seen["calm"]
    assert not list(result.parent.glob("*.part"))


def test_a_cell_that_does_not_fit_into_what_is_left_is_begun_in_a_new_start(
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


def test_what_is_cancelled_while_it_saves_its_state_before_its_limit_stays_so(
    studies: dict[str, OnCluster], seen: dict[str, object]
) -> None:
    study = studies["cancelled"]
    (cell,) = study.cells()
    assert (len(study.ends(cell)), study.queue(), study.science()) == (1, [], {})
