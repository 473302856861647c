"""Requeueing of a job that ends with work left."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nllgen.errors import MachineError
from nllgen.launch.supervisor import Supervisor
from nllgen.launch.worker_process import WorkerConfig
from nllgen.storage.study_dir import StudyDir
from nllgen.study.config import Study
from nllgen.study.run_options import RunOptions


@pytest.fixture
def requeued(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Replace submitit's handler; yield the signals that it was called with."""
    heard: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR2, signal.SIGTERM)}
    signal.signal(signal.SIGUSR2, lambda number, frame: heard.append(number))
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr("nllgen.launch.supervisor._forget_pickle", lambda job: None)
    yield heard
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("restarts", "again"), [(0, True), (2, True), (3, False)])
def test_a_job_too_short_for_any_task_is_not_requeued_for_ever(
    tiny: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, requeued: list[int], restarts: int, again: bool
) -> None:
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + 30))
    monkeypatch.setenv("SLURM_RESTART_COUNT", str(restarts))
    folder = StudyDir(tmp_path / "tiny")
    folder.freeze(tiny)
    supervisor = Supervisor(folder.path, "s", WorkerConfig(RunOptions(Path(os.devnull))), signal_s=60.0)
    if again:
        assert supervisor() == {}
    else:
        with pytest.raises(MachineError, match="no task could begin in 4 starts"):
            supervisor()
    assert bool(requeued) == again
