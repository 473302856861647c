"""A study on a cluster is followed to its end, also when the scheduler is silent for a while."""

from __future__ import annotations

from pathlib import Path

import pytest
from process import TINY, frozen

from nllgen.doors import following
from nllgen.launch.cluster import Live
from nllgen.store.study_dir import StudyDir


@pytest.fixture
def folder(tmp_path: Path) -> StudyDir:
    return StudyDir(frozen(tmp_path, TINY))


def test_a_scheduler_that_does_not_answer_is_waited_for(folder: StudyDir, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([(Live({}, {}, ("7",)), ""), (None, "no answer"), (None, "no answer"), (Live({}, {}, ()), "")])
    said: list[str] = []
    monkeypatch.setattr(following, "hints", lambda *_, **__: next(answers))
    monkeypatch.setattr(following, "status", lambda *_: [])
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    following.follow_cluster(folder, folder.read_study(), said.append)
    assert said == ["no answer", "the scheduler answers again"]
    assert next(answers, None) is None
