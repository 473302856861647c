"""Pickles that somebody has put into a study, where submitit would read its own."""

from __future__ import annotations

import os
import pickle
import signal
from pathlib import Path
from typing import Any

import pytest

from nllgen.launch import local
from nllgen.launch.freeze import freeze
from nllgen.launch.worker_process import WorkerConfig
from nllgen.study.load import parse_study
from nllgen.study.run_options import RunOptions
from tests.cli.process import TINY
from tests.cluster.devcluster import wait_for


class Touch:
    """A pickle that creates a file when it is read."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.slow
def test_pickles_that_lie_in_a_study_are_not_read_by_a_local_submission(tmp_path: Path) -> None:
    """submitit reads ``<process>_submitted.pkl`` and ``<process>_0_result.pkl`` there, whoever wrote them."""
    study_dir, _, _ = freeze(parse_study(TINY, "tiny.yaml", precision="fp32"), tmp_path / "runs")
    study_dir.submitit.mkdir()
    (study_dir.submitit / "bait").write_bytes(pickle.dumps(Touch(tmp_path / "run")))
    latest, num_pids = Path("/proc/loadavg").read_text().split()[-1], int(Path("/proc/sys/kernel/pid_max").read_text())
    for number in ((int(latest) + i) % num_pids for i in range(6_000)):  # numbers of processes begin again at their end
        for name in (f"{number}_submitted.pkl", f"{number}_0_result.pkl"):
            os.link(study_dir.submitit / "bait", study_dir.submitit / name)
    (job,) = local.start_local(study_dir, WorkerConfig(RunOptions(tmp_path, "cpu")), 1, only=[])
    os.kill(int(job.job_id), signal.SIGKILL)  # before it has written a result of its own
    assert (study_dir.submitit / f"{job.job_id}_0_result.pkl").exists(), "the bait does not cover this process"
    wait_for(job.done)
    assert str(local.failure_of_supervisor(job)).startswith("a supervisor was killed")
    assert not (tmp_path / "run").exists()
