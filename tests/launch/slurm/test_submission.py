"""Submissions and queries with and without an answer of the scheduler."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from nllgen.errors import MachineError
from nllgen.launch.freeze import freeze
from nllgen.launch.profile import Profile
from nllgen.launch.slurm.arrays import ArrayShape, Stage, Submission, SubmissionDir, folder_identity
from nllgen.launch.slurm.submission import SubmissionRequest
from nllgen.launch.start import send
from nllgen.launch.status import query_scheduler
from nllgen.launch.worker_process import WorkerConfig
from nllgen.storage.study_dir import StudyDir
from nllgen.study.config import Study
from nllgen.study.run_options import RunOptions


@pytest.fixture
def folder(tiny: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyDir:
    """Return a frozen study on a machine without Slurm."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return freeze(tiny, tmp_path)[0]


def test_a_stop_stands_where_the_scheduler_cannot_be_asked(tiny: Study, folder: StudyDir) -> None:
    folder.stop.touch()
    with pytest.raises(MachineError, match="squeue is not on PATH"):
        send(SubmissionRequest(folder, tiny, Profile(), WorkerConfig(RunOptions(folder.path)), ArrayShape()))
    assert folder.stop.exists()
    assert not folder.submitit.exists()


def test_the_scheduler_is_not_asked_about_a_copy(tiny: Study, folder: StudyDir, tmp_path: Path) -> None:
    where = SubmissionDir(folder.submitit / "abc")
    where.path.mkdir(parents=True)
    where.write(Submission("abc", (Stage("cells0", (("a",),)),), options={"place": folder_identity(folder)}))
    copy = StudyDir(Path(shutil.copytree(folder.path, tmp_path / "copy")))
    assert "squeue" in query_scheduler(folder, tiny)[1]
    assert query_scheduler(copy, tiny) == (None, "from files alone: this is a copy of the folder that was submitted")


def test_a_scheduler_that_hangs_is_not_waited_for_long(tiny: Study, folder: StudyDir, tmp_path: Path) -> None:
    where = SubmissionDir(folder.submitit / "abc")
    where.path.mkdir(parents=True)
    where.write(Submission("abc", (Stage("cells0", (("a",),)),), options={"place": folder_identity(folder)}))
    (tmp_path / "squeue").write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    (tmp_path / "squeue").chmod(0o755)
    begin = time.monotonic()
    live, trouble = query_scheduler(folder, tiny)
    assert (live, trouble) == (None, "from files alone: squeue did not answer in 5 s")
    assert time.monotonic() - begin < 15
