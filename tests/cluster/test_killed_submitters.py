"""A submitter is killed at any moment: a rerun completes what it left, without losing or doubling a cell."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from nllgen.launch.slurm.arrays import submissions
from nllgen.launch.slurm.live_jobs import query_live_jobs
from nllgen.launch.slurm.queue_lines import parse_line
from tests.cluster.devcluster import PATIENCE_S, Cluster
from tests.cluster.studies import REAL, OnCluster, wait

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
# several studies, so that the kills fall on all moments of a submission and not on its end alone
NUM_KILLS, NUM_STUDIES = (150, 5) if os.environ.get("NLLGEN_SOAK") else (30, 3)


def covered(study: OnCluster) -> Counter[str]:
    """Return task → number of live elements that will run it."""
    found: Counter[str] = Counter()
    stages = {
        submission.job_name(study.name, stage): stage
        for _, submission in submissions(study.folder)
        for stage in submission.stages
    }
    for line in study.cluster.squeue("-r", "-o", "%i|%j|%T|%R"):
        job = parse_line(line)
        if job.name in stages:
            for element in job.elements or (0,):
                found.update(stages[job.name].tasks_of(element))
    return found


def lease(study: OnCluster) -> tuple[int, int]:
    """Return inode and time of a study's submission lease; zeros without one."""
    try:
        found = study.folder.path.with_name(f".{study.name}.submitting").stat()
    except OSError:
        return 0, 0
    return found.st_ino, found.st_mtime_ns


@contextlib.contextmanager
def at_work(study: OnCluster) -> Iterator[subprocess.Popen[str]]:
    """Wait for a submitter that has the submission lease; a killed one has left its lease."""
    before = (0, 0), lease(study)
    with study.start() as process:
        wait(lambda: lease(study) not in before or process.poll() is not None, "it submits", every_s=0.01)
        yield process
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_killed_submitters_lose_and_double_nothing(make_study: Callable[..., OnCluster], cluster: Cluster) -> None:
    chance = random.Random(0)
    measured = make_study("measured", text=REAL, seeds=3, sbatch={"hold": True})
    with at_work(measured) as submitter:
        begin = time.monotonic()
        output, _ = submitter.communicate(timeout=PATIENCE_S)
        work_s = time.monotonic() - begin
    assert submitter.returncode == 0, output
    measured.cancel()
    for number in range(NUM_STUDIES):
        study = make_study(f"killed{number}", text=REAL, seeds=3, sbatch={"hold": True})
        for _ in range(NUM_KILLS // NUM_STUDIES):
            with at_work(study):
                time.sleep(chance.uniform(0, 1.1) * work_s)
            if len(study.queue()) == 4:  # it is whole: the next kills shall meet a submitter at work
                study.cancel()
        study.submit()
        cells = study.cells()
        assert covered(study) == Counter(cells)
        live = query_live_jobs(study.folder, study.name)
        assert set(live.tasks) == {*cells, "collect"}
        study.cancel()


def test_a_collection_that_was_never_sent_is_owed(make_study: Callable[..., OnCluster], cluster: Cluster) -> None:
    study = make_study("owed", text=REAL, seeds=2, sbatch={"hold": True})
    study.submit()
    (collection,) = [row[0] for row in study.queue() if row[1].endswith("collect")]
    cluster.run("scancel", collection)
    wait(lambda: len(study.queue()) == 2, "the collection is gone")
    study.submit()
    names = sorted(row[1].partition(":")[2] for row in study.queue())
    assert names == ["cells0", "cells0", "collect"]
    assert covered(study) == Counter(study.cells())
    (first, second) = [submission for _, submission in submissions(study.folder)]
    assert second.options["under"] == first.options["under"]
    study.cancel()
