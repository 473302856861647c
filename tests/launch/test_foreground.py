"""One task runs in this process, recorded and under a lease."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from nllgen.errors import ConfigError, MachineError, StoppedError
from nllgen.launch.attempt import Attempt
from nllgen.launch.foreground import run_in_foreground
from nllgen.launch.stop_signal import StopRequest
from nllgen.launch.tasks import read_attempts
from nllgen.storage.study_dir import StudyDir
from nllgen.study.config import Study


@pytest.mark.parametrize(
    ("error", "outcome"), [(None, "done"), (StoppedError("x"), "stopped"), (MachineError("x"), "failed")]
)
def test_a_run_in_the_foreground_is_recorded_and_its_lease_renewed(
    tiny: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception | None, outcome: str
) -> None:
    monkeypatch.setattr("nllgen.launch.attempt.RENEW_S", 0.01)
    monkeypatch.setattr("nllgen.launch.stop_signal.SIGNALS", ())
    attempts = []

    def run(study_dir: StudyDir, attempt: Attempt, stop: StopRequest) -> None:
        lease = next(study_dir.path.glob("truths/*/lease"))
        before = lease.stat().st_mtime_ns
        give_up = time.monotonic() + 20
        while lease.stat().st_mtime_ns == before:
            assert time.monotonic() < give_up
            time.sleep(0.01)
        attempts.append((type(stop), attempt.name[:2], attempt.number))
        if error:
            raise error

    if error:
        with pytest.raises(type(error)):
            run_in_foreground(tiny, tmp_path, "truth", 1, run, print)
    else:
        run_in_foreground(tiny, tmp_path, "truth", 1, run, print)
    study_dir = StudyDir(tmp_path / "tiny")
    lines = read_attempts(next(study_dir.path.glob("truths/*/attempts.jsonl")))
    assert [line["event"] for line in lines] == ["started", outcome]
    assert attempts == [(StopRequest, "1-", 1)]
    assert not list(study_dir.path.glob("truths/*/lease"))


def test_a_cell_runs_after_all_that_it_needs(tiny: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nllgen.launch.stop_signal.SIGNALS", ())
    cell_id = tiny.cells[1].id
    names: list[str] = []
    run_in_foreground(tiny, tmp_path, cell_id, 1, lambda _, attempt, __: names.append(attempt.task.name), print)
    assert names == ["truth", "dataset", cell_id]


def test_a_cell_that_the_study_lacks_is_refused_before_anything_is_frozen(tiny: Study, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no cell"):
        run_in_foreground(tiny, tmp_path, "0" * 16, 1, lambda *_: None, print)
    assert not (tmp_path / "tiny").exists()
