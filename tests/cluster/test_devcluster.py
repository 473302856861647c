"""The devcluster does what the other cluster tests take for granted."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
from devcluster import MAX_ARRAY, SCRIPTS, Cluster, PlainUser


@pytest.fixture
def shared(plain_user: PlainUser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that every user may write."""
    folder = plain_user.home / tmp_path_factory.mktemp("shared").name
    folder.mkdir(exist_ok=True)
    folder.chmod(0o1777)
    return folder


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


def test_a_plain_user_submits_and_owns_the_output(cluster: Cluster, plain_user: PlainUser, shared: Path) -> None:
    job = cluster.sbatch(f"--output={shared}/%j.txt", script="id -un; nproc", user=plain_user)
    cluster.wait_state(job, "COMPLETED")
    output = shared / f"{job}.txt"
    cluster.wait_for(lambda: lines(output)[:1] == [plain_user.name], 10, "the job's output")
    assert output.stat().st_uid == plain_user.uid
    cluster.wait_for(lambda: [f"{job}|COMPLETED|{plain_user.name}"] == cluster.sacct(
        "-X", "-j", job, "--format=JobID,State,User"), 20, "sacct to know it")  # fmt: skip


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


def test_a_requeued_job_runs_again(cluster: Cluster, shared: Path) -> None:
    script = f'echo ${{SLURM_RESTART_COUNT:-0}} >> {shared}/runs; [ -n "$SLURM_RESTART_COUNT" ] || sleep 100'
    job = cluster.sbatch("--requeue", script=script)
    cluster.wait_for(lambda: lines(shared / "runs") == ["0"], 20)
    cluster.scontrol("requeue", job)
    cluster.wait_state(job, "COMPLETED")
    assert lines(shared / "runs") == ["0", "1"]


def test_preemption_signals_requeues_and_finishes(cluster: Cluster, shared: Path) -> None:
    """The user signal comes at once and the grace period is the job's; USR2 reaches the batch shell alone."""
    script = f"""
if [ -n "$SLURM_RESTART_COUNT" ]; then echo again >> {shared}/said; exit; fi
trap 'echo signalled >> {shared}/said' USR2
echo started >> {shared}/said
while :; do sleep 0.2; done"""
    whole = ("--nodes=4", "--exclusive", "--mem=0")
    low = cluster.sbatch("-p", "preempt", *whole, "--requeue", "--signal=B:USR2@60", script=script)
    cluster.wait_for(lambda: lines(shared / "said") == ["started"], 30)
    high = cluster.sbatch("-p", "urgent", *whole, script="true")
    cluster.wait_for(lambda: lines(shared / "said") == ["started", "signalled"], 9, "the user signal")
    cluster.wait_state(high, "COMPLETED")
    cluster.wait_state(low, "COMPLETED")
    assert lines(shared / "said") == ["started", "signalled", "again"]


def test_too_much_memory_ends_the_job(cluster: Cluster) -> None:
    job = cluster.sbatch("--mem=60", script="python3 -c \"import time; x = b'x' * 400_000_000; time.sleep(20)\"")
    cluster.wait_for(lambda: cluster.states(job) and not cluster.states(job) & {"PENDING", "RUNNING"}, 40)
    assert "COMPLETED" not in cluster.states(job)
    if "proctrack/cgroup" in cluster.scontrol("show", "config"):
        assert cluster.states(job) == {"OUT_OF_MEMORY"}


def test_jobs_get_gpus_of_their_own(cluster: Cluster, shared: Path) -> None:
    script = f"echo $SLURMD_NODENAME:$CUDA_VISIBLE_DEVICES >> {shared}/gpus; sleep 1.5"
    job = cluster.sbatch("--array=0-7", "--gres=gpu:1", "--mem=50", script=script)
    cluster.wait_state(job, "COMPLETED")
    assert sorted(lines(shared / "gpus")) == [f"{node}:{gpu}" for node in cluster.nodes for gpu in "01"]


def run_twice(cluster: Cluster, shared: Path, node: str) -> str:
    """A job that leaves its process's number on a node and lasts there, but ends at once when it is run again."""
    script = f'echo $$ >> {shared}/pids; [ -n "$SLURM_RESTART_COUNT" ] || sleep 300'
    job = cluster.sbatch("--requeue", f"--nodelist={node}", script=script)
    cluster.wait_for(lambda: lines(shared / "pids"), 20, "the job to start")
    return job


def test_a_crashed_node_takes_its_jobs_and_comes_back(cluster: Cluster, shared: Path) -> None:
    node = cluster.nodes[2]
    job = run_twice(cluster, shared, node)
    cluster.crash(node)
    cluster.wait_for(lambda: not alive(int(lines(shared / "pids")[0])), 5, "the job's process to be gone")
    cluster.start(node)
    cluster.wait_state(job, "COMPLETED", timeout=60)
    assert len(lines(shared / "pids")) == 2
    assert cluster.node_state(node) == "idle"


def test_a_deaf_node_is_given_up_while_its_job_runs_on(cluster: Cluster, shared: Path) -> None:
    node = cluster.nodes[3]
    job = run_twice(cluster, shared, node)
    first = int(lines(shared / "pids")[0])
    cluster.deaf(node)
    cluster.wait_for(lambda: cluster.states(job) == {"PENDING"}, 60, "the controller to requeue")
    assert alive(first)
    cluster.start(node)
    cluster.wait_for(lambda: not alive(first), 30, "the returned node to end the job that is no longer its own")
    cluster.wait_state(job, "COMPLETED")


def test_accounting_can_be_switched_off_under_a_running_job(cluster: Cluster) -> None:
    job = cluster.sbatch(script="sleep 300")
    cluster.wait_state(job, "RUNNING")
    try:
        assert cluster.up(accounting=False).returncode == 0
        done = cluster.run("sacct", "-j", job, check=False)
        assert done.returncode != 0
        assert "accounting storage is disabled" in done.stderr
        assert cluster.states(job) == {"RUNNING"}
    finally:
        assert cluster.up().returncode == 0
    assert cluster.sacct("-X", "-j", job, "--format=State") == ["RUNNING"]


def test_up_repairs_what_died(cluster: Cluster) -> None:
    for name in ("slurmctld", "munged", f"slurmd.{cluster.nodes[0]}"):
        os.kill(int((cluster.folder / "pid" / f"{name}.pid").read_text("utf-8")), 9)
    time.sleep(0.2)
    done = cluster.up()
    assert done.returncode == 0, done.stderr
    assert cluster.run("srun", "--nodes=4", "hostname").stdout.count("\n") == 4


def test_a_wrong_setting_is_refused_with_what_is_allowed() -> None:
    done = subprocess.run(
        [str(SCRIPTS / "up")],
        env=os.environ | {"NLLGEN_DEVCLUSTER_ACCOUNTING": "maybe"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 3
    assert "'maybe'" in done.stderr or "root" in done.stderr or "apt-get" in done.stderr
