"""`nllgen doctor` on a real cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nllgen.launch.profile import parse_profile
from tests.cluster.devcluster import MAX_ARRAY, Cluster, PlainUser


def doctor(cluster: Cluster, *options: str, exit_code: int = 0) -> dict[str, Any]:
    command = [sys.executable, "-m", "nllgen", "doctor", "--json", *options]
    done = subprocess.run(command, env=cluster.env, capture_output=True, text=True, timeout=500)
    assert done.returncode == exit_code, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found | {finding["name"]: finding for finding in found["findings"]}


def test_it_finds_what_the_cluster_was_configured_with(cluster: Cluster, tmp_path: Path) -> None:
    found = doctor(cluster, "--root", str(tmp_path))
    assert found["can_submit"]
    assert not [finding for finding in found["findings"] if finding["level"] == "problem"]
    assert found["MaxArraySize"]["value"] == str(MAX_ARRAY)
    assert found["sacct"]["value"] == "works"
    assert found["partition short"]["value"].startswith(
        "default; up to 10 min; 5 min if not asked; 4 × (2 CPUs, 3.9 GB"
    )
    assert found["preemption in preempt"]["value"] == "requeue, 10 s of grace, user signal"
    assert "shared" not in found  # the nodes are this machine
    assert not any(tmp_path.iterdir())


def test_sbatch_takes_a_job_of_the_profile_that_it_writes(cluster: Cluster, tmp_path: Path) -> None:
    out = tmp_path / "here.yaml"
    doctor(cluster, "--root", str(tmp_path), "--out", str(out), "--partition", "preempt")
    profile = parse_profile(out.read_text("utf-8"), "here")
    assert (profile.partition, profile.time_min, profile.max_array_size) == ("preempt", 60, MAX_ARRAY)
    assert profile.max_array_size is not None
    assert profile.memory_gb is not None
    resources = (
        *("--partition", str(profile.partition), f"--time={profile.time_min}", f"--cpus-per-task={profile.cpus}"),
        *(f"--mem={round(profile.memory_gb * 1024)}M", f"--gpus-per-node={profile.gpus}"),
    )
    job = cluster.sbatch(f"--array=0-{profile.array_parallelism - 1}", *resources, script="sleep 100")
    cluster.wait_for(lambda: len(cluster.squeue("-r", "-t", "running", "-j", job)) == profile.array_parallelism)
    last = profile.max_array_size - 1
    cluster.run("sbatch", "--test-only", f"--array={last}", *resources, "--wrap", "true")


def test_it_says_what_is_missing(cluster: Cluster, tmp_path: Path) -> None:
    """Without accounting sacct is a note; without a controller nothing can be submitted, and the doctor ends soon."""
    try:
        assert cluster.up(accounting=False).returncode == 0
        found = doctor(cluster, "--root", str(tmp_path))
        assert found["can_submit"]
        assert (found["sacct"]["level"], found["sacct"]["value"]) == ("note", "does not work")
        os.kill(int((cluster.folder / "pid" / "slurmctld.pid").read_text("utf-8")), 9)
        found = doctor(cluster, "--root", str(tmp_path), exit_code=3)
        assert "Unable to contact slurm controller" in found["controller"]["means"]
    finally:
        assert cluster.up().returncode == 0


def test_a_plain_user_may_use_the_partitions(
    cluster: Cluster, plain_user: PlainUser, plain_python: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NLLGEN_ROOT", raising=False)
    done = cluster.run(plain_python, "-m", "nllgen", "doctor", "--json", "--write", "mine", "--force", user=plain_user)
    found = {finding["name"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert all(found[f"partition {name}"]["level"] != "problem" for name in ("short", "urgent", "preempt"))
    assert (plain_user.home / ".config" / "nllgen" / "profiles" / "mine.yaml").stat().st_uid == plain_user.uid
