"""A study on a cluster is followed to its end, also when the scheduler is silent for a while."""

from __future__ import annotations

from pathlib import Path

import pytest

from nllgen.cli import following
from nllgen.launch.slurm.live_jobs import LiveJobs
from nllgen.storage.study_dir import StudyDir
from tests.cli.process import TINY, frozen


@pytest.fixture
def folder(tmp_path: Path) -> StudyDir:
    return StudyDir(frozen(tmp_path, TINY))


def test_a_scheduler_that_does_not_answer_is_waited_for(folder: StudyDir, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(
        [(LiveJobs({}, {}, ("7",)), ""), (None, "no answer"), (None, "no answer"), (LiveJobs({}, {}, ()), "")]
    )
    said: list[str] = []
    monkeypatch.setattr(following, "query_scheduler", lambda *_, **__: next(answers))
    monkeypatch.setattr(following, "status", lambda *_: [])
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    following.follow_cluster(folder, folder.read_study(), said.append)
    assert said == ["no answer", "the scheduler answers again"]
    assert next(answers, None) is None
