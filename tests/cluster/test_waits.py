"""Jobs that wait, refusals and other clusters, on the real thing: Slurm's words, and advice that works."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nllgen.launch.slurm.commands import query_queue
from nllgen.launch.slurm.waits import why_waiting
from tests.cluster.devcluster import Cluster, PlainUser
from tests.cluster.scenarios import command
from tests.cluster.studies import REAL, OnCluster, wait

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
Make = Callable[..., OnCluster]
JOB = ("--mem=50", "--time=5")


@pytest.fixture
def reasons(cluster: Cluster, plain_user: PlainUser) -> Iterator[dict[str, str]]:
    """Yield option → words, of jobs that wait for different reasons."""
    node = cluster.nodes[3]
    cluster.scontrol("update", f"nodename={node}", "state=drain", "reason=test")
    cluster.scontrol(
        *("create", "reservation", "reservationname=later", "starttime=now+600", "duration=10", "users=root"),
        f"nodes={cluster.nodes[2]}",
    )
    failed = cluster.sbatch(*JOB, script="exit 1")
    options = {
        "hold": ("--hold",),
        "held by root": (),
        "begin": ("--begin=now+1hour",),
        "dependency": ("--kill-on-invalid-dep=no", f"--dependency=afterok:{failed}"),
        "drained": (f"--nodelist={node}",),
        "reservation": ("--reservation=later",),
    }
    jobs = {}
    for name, extra in options.items():
        hold = ("--begin=now+30",) if name == "held by root" else ()
        job = cluster.sbatch("--job-name=nllgen:waits:0:cells0", *JOB, *hold, *extra, script="sleep 1")
        jobs[job] = name
        if name == "held by root":
            cluster.scontrol("hold", job)
    try:
        cluster.wait_state(failed, "FAILED")
        wait(
            lambda: "DependencyNeverSatisfied" in " ".join(cluster.squeue("-o", "%R")), "Slurm gives the dependency up"
        )
        queue = query_queue("nllgen:waits:0:")
        yield {jobs[line.id]: why_waiting(line) for line in queue.jobs} | {"jobs": json.dumps(jobs)}
    finally:
        cluster.run("scancel", *jobs, check=False)
        cluster.scontrol("update", f"nodename={node}", "state=resume", check=False)
        wait(lambda: cluster.node_state(node) in ("idle", "mixed", "allocated"), "the node is back")
        with contextlib.suppress(AssertionError):
            cluster.scontrol("delete", "reservationname=later")


def test_slurms_reasons_are_explained(reasons: dict[str, str]) -> None:
    held = next(job for job, name in json.loads(reasons["jobs"]).items() if name == "hold")
    assert reasons["hold"] == f"JobHeldUser: held by its owner; to let it start: scontrol release {held}"
    assert "JobHeldAdmin: held by an administrator" in reasons["held by root"]
    assert re.search(r"BeginTime: .*; expected to start 20\d\d-", reasons["begin"])
    assert (
        "DependencyNeverSatisfied: a job that it needs has failed or was cancelled; it will not start"
        in (reasons["dependency"])
    )
    assert "down, drained or reserved; see `sinfo -R`" in reasons["drained"]
    assert "its reservation has not begun" in reasons["reservation"]


@pytest.fixture(scope="module")
def held(make_study: Make) -> OnCluster:
    """Return a study whose jobs are held."""
    study = make_study("held", text=REAL, seeds=2, sbatch={"hold": True})
    study.submit()
    return study


def test_a_held_study_runs_to_its_end_when_the_advice_of_status_is_followed(held: OnCluster) -> None:
    told = command(held, "status", str(held.folder.path))
    (line,) = [line for line in told.splitlines() if "JobHeldUser: held by its owner" in line]
    assert line.startswith("3 wait (job ")  # the collection, too
    rows = json.loads(command(held, "status", "--json", str(held.folder.path)))
    numbers = {row[0].partition("_")[0] for row in held.queue()}
    assert {row["reason"] for row in rows["tasks"]} == {"JobHeldUser"}
    assert {row["job"].partition("_")[0] for row in rows["tasks"]} < numbers
    assert rows["collection"]["reason"] == "JobHeldUser"
    advice = shlex.split(line.rpartition("to let it start: ")[2])
    held.cluster.run(*advice)
    held.wait_end()
    assert (held.folder.path / "study.h5").exists()


def test_a_cancellation_tells_what_ran_from_what_waited(make_study: Make) -> None:
    study = make_study("ran", text=REAL, seeds=3, steps=200_000, profile={"array_parallelism": 1})
    study.submit()
    wait(lambda: any(study.is_training(cell) for cell in study.cells()), "one trains")
    (number,) = {row[0].partition("_")[0] for row in study.queue() if row[1].endswith("cells0")}
    told = command(study, "cancel", str(study.folder.path))
    study.wait_end()
    assert re.search(rf"3 jobs waited and will not start: {number} \(2 elements\), \d+\n", told)
    assert f"1 job ran and will end by itself: {number}\n" in told
    assert "1 cell ran and was asked to save its state and stop: " in told


def test_a_named_cluster_is_asked_by_every_program(make_study: Make, cluster: Cluster) -> None:
    """Name the cluster itself: what it prints is what a second cluster would print."""
    name = re.search(r"ClusterName\s*=\s*(\S+)", cluster.scontrol("show", "config"))
    assert name is not None
    study = make_study("named", text=REAL, seeds=2, profile={"clusters": name[1]}, sbatch={"hold": True})
    told = study.submit()
    assert f" on {name[1]}: cells0, 2 elements" in told
    assert "2 tasks are queued or running already" not in told
    assert "nothing to send: 3 tasks are queued or running already" in study.submit()
    shown = command(study, "status", str(study.folder.path))
    (line,) = [line for line in shown.splitlines() if "JobHeldUser" in line and " wait " in line]
    cluster.run(*shlex.split(line.rpartition("to let it start: ")[2]))
    study.wait_end()
    assert (study.folder.path / "study.h5").exists()


@pytest.mark.parametrize(
    ("profile", "cause", "advice"),
    [
        ({"partition": "nope"}, "there is no such partition", "sinfo -s"),
        ({"memory_gb": 5000.0}, "memory", "memory_gb"),
        ({"cpus": 500}, "no node has what was asked for", "cpus"),
        ({"time_min": 600}, "the time that was asked for", "time_min"),
        ({"sbatch": {"gres": "tpu:1"}}, "the GPUs that were asked for", "gpus"),
        ({"constraint": "nope"}, "no node has what was asked for", "constraint"),
        ({"sbatch": {"reservation": "nope"}}, "the reservation is wrong", "scontrol show reservation"),
        ({"clusters": "nope"}, "cluster", "sacctmgr show clusters"),
    ],
)
def test_a_refusal_is_told_once_with_advice_that_fits(
    make_study: Make, profile: dict[str, object], cause: str, advice: str
) -> None:
    study = make_study("refused", text=REAL, profile=profile)
    told = study.submit(code=3)
    assert cause in told
    assert advice in told
    assert told.count("error: ") == 1, told
    assert study.queue() == []


def test_a_controller_that_does_not_answer_is_not_the_profiles_fault(make_study: Make, tmp_path: Path) -> None:
    study = make_study("silent", text=REAL)
    text = study.cluster.slurm_conf.read_text()
    (tmp_path / "slurm.conf").write_text(re.sub(r"(?m)^SlurmctldPort=.*", "SlurmctldPort=1", text))
    study.environ |= {"SLURM_CONF": str(tmp_path / "slurm.conf")}
    told = study.submit(code=3)
    assert "try again in some minutes" in told
