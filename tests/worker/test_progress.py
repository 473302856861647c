"""Progress of a task: lines in a log, and the file for other processes."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from nllgen.worker.progress import TaskProgress, plain_lines


def ignore(done: int, note: str) -> None:
    """An update that shows nothing."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_line_every_ten_seconds_and_one_at_the_end(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with plain_lines("cell", 25) as update:
        for second in range(1, 26):
            clock[0] = float(second)
            update(second, "loss 1")
    assert capsys.readouterr().out.splitlines() == [
        "cell  10/25  10 s, about 15 s left  loss 1",
        "cell  20/25  20 s, about 5 s left  loss 1",
        "cell  25/25  25 s  loss 1",
    ]


def test_numbers_are_counted_from_what_was_saved() -> None:
    shown: list[tuple[int, str]] = []
    task = TaskProgress(lambda done, note: shown.append((done, note)), 10, saved=3)
    task.add(2)
    task.set(9, "loss 1")
    assert shown == [(5, ""), (9, "loss 1")]


def test_the_file_is_written_now_and_then_and_at_each_checkpoint(clock: list[float], tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    task = TaskProgress(ignore, 10, path, saved=1)
    task.set(2, "loss 1")
    first = json.loads(path.read_text())
    assert first == {"done": 2, "total": 10, "saved": 1, "time_s": 0.0, "note": "loss 1"}
    clock[0] = 4.0
    task.set(3)
    assert json.loads(path.read_text()) == first
    task.set_saved(3)
    assert json.loads(path.read_text()) == {"done": 3, "total": 10, "saved": 3, "time_s": 4.0, "note": ""}
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_does_not_end_the_task(tmp_path: Path) -> None:
    TaskProgress(ignore, 10, tmp_path / "gone" / "progress.json").set(1)
