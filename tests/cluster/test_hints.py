"""Slurm's memory of jobs that have ended."""

from __future__ import annotations

from nllgen.launch.slurm.ends import Ends, ends_of, sacct_state
from tests.cluster.devcluster import Cluster


def test_each_run_of_a_requeued_job_has_its_own_end(cluster: Cluster) -> None:
    job = cluster.sbatch("--requeue", "--mem=50", script="sleep 3000")
    cluster.wait_state(job, "RUNNING")
    cluster.wait_for(lambda: cluster.sacct("-j", job, "-X", "--format=State") == ["RUNNING"])
    cluster.scontrol("requeue", job)
    cluster.wait_for(lambda: cluster.field(job, "Restarts") == ["1"] and cluster.states(job) == {"RUNNING"})
    assert sacct_state({"job": job, "restarts": 0}) == "REQUEUED"
    assert sacct_state({"job": job, "restarts": 1}) == ""
    cluster.run("scancel", job)
    cluster.wait_for(lambda: sacct_state({"job": job, "restarts": 1}).startswith("CANCELLED"))


def test_elements_end_each_in_its_own_way(cluster: Cluster) -> None:
    job = cluster.sbatch("--array=0-3%1", "--mem=50", script="sleep 1; exit $SLURM_ARRAY_TASK_ID")
    cluster.run("scancel", f"{job}_3")
    cluster.wait_for(lambda: cluster.field(job, "JobState").count("FAILED") == 1)
    cluster.run("scancel", job)
    cluster.wait_state(job, "FAILED", "CANCELLED", "COMPLETED")
    expected = {f"{job}_0": "COMPLETED", f"{job}_1": "FAILED", f"{job}_2": "CANCELLED"}
    # the controller knows at once, the accounts some seconds later on a busy machine
    cluster.wait_for(lambda: ends_of(job) == Ends(expected, are_all=True))


def test_a_job_without_elements_has_its_end_under_its_number(cluster: Cluster) -> None:
    job = cluster.sbatch("--hold", "--mem=50", script="true")
    cluster.run("scancel", job)
    cluster.wait_for(lambda: ends_of(job).states == {job: "CANCELLED"})
