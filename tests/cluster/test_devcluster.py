"""Properties of the devcluster that the other tests rely on."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cluster.devcluster import ENDED, MAX_ARRAY, SCRIPTS, Cluster, PlainUser


@pytest.fixture
def shared(plain_user: PlainUser) -> Iterator[Path]:
    """A folder that every user may write; pytest's own are closed to all but root."""
    with tempfile.TemporaryDirectory(dir=plain_user.home) as name:
        folder = Path(name)
        folder.chmod(0o1777)
        yield folder


def lines(path: Path) -> list[str]:
    return path.read_text("utf-8").split() if path.exists() else []


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_a_second_up_changes_nothing(cluster: Cluster) -> None:
    pids = {path.name: path.read_text("utf-8") for path in (cluster.folder / "pid").iterdir()}
    done = cluster.up()
    assert done.returncode == 0, done.stderr
    assert "runs already" in done.stdout
    assert {path.name: path.read_text("utf-8") for path in (cluster.folder / "pid").iterdir()} == pids


def test_up_repairs_what_died(cluster: Cluster) -> None:
    """Before any job: a controller that is killed forgets its last five seconds."""
    for name in ("slurmctld", "munged", f"slurmd.{cluster.nodes[0]}"):
        os.kill(int((cluster.folder / "pid" / f"{name}.pid").read_text("utf-8")), 9)
    time.sleep(0.2)
    done = cluster.up()
    assert done.returncode == 0, done.stderr
    assert cluster.run("srun", "--nodes=4", "hostname").stdout.count("\n") == 4


def test_a_plain_user_submits_and_owns_the_output(cluster: Cluster, plain_user: PlainUser, shared: Path) -> None:
    job = cluster.sbatch(f"--output={shared}/%j.txt", script="id -un; nproc", user=plain_user)
    cluster.wait_state(job, "COMPLETED")
    output = shared / f"{job}.txt"
    cluster.wait_for(lambda: lines(output)[:1] == [plain_user.name], what="the job's output")
    assert output.stat().st_uid == plain_user.uid
    cluster.wait_for(lambda: [f"{job}|COMPLETED|{plain_user.name}"] == cluster.sacct(
        "-X", "-j", job, "--format=JobID,State,User"), what="sacct to know it")  # fmt: skip


def test_a_failed_job_is_failed(cluster: Cluster) -> None:
    job = cluster.sbatch(script="exit 7")
    cluster.wait_state(job, "FAILED")
    assert cluster.field(job, "ExitCode") == ["7:0"]


def test_an_array_runs_throttled(cluster: Cluster, shared: Path) -> None:
    count = f"squeue -h -t running -r -j $SLURM_ARRAY_JOB_ID | wc -l >> {shared}/count"
    job = cluster.sbatch("--array=0-7%2", "--mem=50", script=f"echo $SLURM_ARRAY_TASK_ID >> {shared}/ran; {count}")
    cluster.wait_state(job, "COMPLETED")
    assert sorted(lines(shared / "ran")) == list("01234567")
    assert {*lines(shared / "count")} <= {"1", "2"}


def test_an_index_beyond_the_limit_is_refused(cluster: Cluster) -> None:
    assert f"MaxArraySize            = {MAX_ARRAY}\n" in cluster.scontrol("show", "config")
    done = cluster.run("sbatch", f"--array={MAX_ARRAY}", "--wrap", "true", check=False)
    assert done.returncode != 0
    assert "Invalid job array specification" in done.stderr


def test_too_much_memory_ends_the_job(cluster: Cluster) -> None:
    job = cluster.sbatch("--mem=60", script="python3 -c \"import time; x = b'x' * 400_000_000; time.sleep(20)\"")
    cluster.wait_for(lambda: cluster.states(job) and cluster.states(job) <= ENDED)  # not one that still completes
    assert "COMPLETED" not in cluster.states(job)
    if "proctrack/cgroup" in cluster.scontrol("show", "config"):
        assert cluster.states(job) == {"OUT_OF_MEMORY"}


def test_jobs_get_gpus_of_their_own(cluster: Cluster, shared: Path) -> None:
    script = f"echo $SLURMD_NODENAME:$CUDA_VISIBLE_DEVICES >> {shared}/gpus; sleep 1.5"
    job = cluster.sbatch("--array=0-7", "--gres=gpu:1", "--mem=50", script=script)
    cluster.wait_state(job, "COMPLETED")
    assert sorted(lines(shared / "gpus")) == [f"{node}:{gpu}" for node in cluster.nodes for gpu in "01"]


# ---- what takes Slurm long: four ordeals at once, each on a node of its own


def runs_twice(cluster: Cluster, shared: Path, node: str) -> tuple[str, int]:
    """A job on a node that lasts, but ends at once when it is run again; its id and its first process."""
    pids = shared / f"pids-{node}"
    script = f'echo $$ >> {pids}; [ -n "$SLURM_RESTART_COUNT" ] || sleep 3000'
    job = cluster.sbatch("--requeue", f"--nodelist={node}", "--mem=50", script=script)
    cluster.wait_for(lambda: lines(pids), what="the job to start")
    return job, int(lines(pids)[0])


def requeued(cluster: Cluster, shared: Path) -> None:
    node = cluster.nodes[0]
    job, _ = runs_twice(cluster, shared, node)
    cluster.scontrol("requeue", job)
    cluster.wait_state(job, "COMPLETED")
    assert len(lines(shared / f"pids-{node}")) == 2


def preempted(cluster: Cluster, shared: Path) -> None:
    said = shared / "said"
    script = f"""
if [ -n "$SLURM_RESTART_COUNT" ]; then echo again >> {said}; exit; fi
trap 'echo signalled >> {said}' USR2
echo started >> {said}
while :; do sleep 0.2; done"""
    whole = (f"--nodelist={cluster.nodes[1]}", "--exclusive", "--mem=0")
    low = cluster.sbatch("-p", "preempt", *whole, "--requeue", "--signal=B:USR2@60", script=script)
    cluster.wait_for(lambda: lines(said) == ["started"])
    high = cluster.sbatch("-p", "urgent", *whole, script="true")
    cluster.wait_for(lambda: lines(said)[1:2] == ["signalled"], what="the user signal, before it is run again")
    cluster.wait_state(high, "COMPLETED")
    cluster.wait_state(low, "COMPLETED")
    assert lines(said) == ["started", "signalled", "again"]


def crashed(cluster: Cluster, shared: Path) -> None:
    node = cluster.nodes[2]
    job, first = runs_twice(cluster, shared, node)
    time.sleep(15)  # a job that has only just started is not missed by the controller
    cluster.crash(node)
    cluster.wait_for(lambda: not alive(first), what="the job's process to be gone")
    cluster.start(node)
    cluster.wait_state(job, "COMPLETED")
    assert len(lines(shared / f"pids-{node}")) == 2


def went_deaf(cluster: Cluster, shared: Path) -> None:
    node = cluster.nodes[3]
    job, first = runs_twice(cluster, shared, node)
    cluster.deaf(node)
    cluster.wait_for(lambda: cluster.states(job) == {"PENDING"}, what="the controller to requeue")
    assert alive(first)
    cluster.start(node)
    cluster.wait_for(lambda: not alive(first), what="the returned node to end the job that is no longer its own")
    cluster.wait_state(job, "COMPLETED")


@pytest.fixture(scope="module")
def ordeals(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Future[None]]:
    shared = tmp_path_factory.mktemp("ordeals")
    with ThreadPoolExecutor() as pool:
        return {ordeal.__name__: pool.submit(ordeal, cluster, shared) for ordeal in ORDEALS}


ORDEALS = (requeued, preempted, crashed, went_deaf)


def test_a_requeued_job_runs_again(ordeals: dict[str, Future[None]]) -> None:
    ordeals["requeued"].result()


def test_a_preempted_job_is_signalled_then_requeued_and_finishes(ordeals: dict[str, Future[None]]) -> None:
    ordeals["preempted"].result()


def test_a_crashed_node_takes_its_jobs_along_and_they_run_again(ordeals: dict[str, Future[None]]) -> None:
    ordeals["crashed"].result()


def test_a_deaf_node_is_given_up_while_its_job_runs_on(ordeals: dict[str, Future[None]]) -> None:
    ordeals["went_deaf"].result()


def test_accounting_can_be_switched_off_under_a_running_job(cluster: Cluster) -> None:
    job = cluster.sbatch(script="sleep 3000")
    cluster.wait_for(lambda: cluster.sacct("-X", "-j", job, "--format=State") == ["RUNNING"])
    try:
        assert cluster.up(accounting=False).returncode == 0
        done = cluster.run("sacct", "-j", job, check=False)
        assert done.returncode != 0
        assert "accounting storage is disabled" in done.stderr
        assert cluster.states(job) == {"RUNNING"}
    finally:
        assert cluster.up().returncode == 0
    assert cluster.sacct("-X", "-j", job, "--format=State") == ["RUNNING"]


def test_a_wrong_setting_is_refused_with_what_is_allowed() -> None:
    done = subprocess.run(
        [str(SCRIPTS / "up")],
        env=os.environ | {"NLLGEN_DEVCLUSTER_ACCOUNTING": "maybe"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 3
    assert "'maybe'" in done.stderr or "root" in done.stderr or "apt-get" in done.stderr
