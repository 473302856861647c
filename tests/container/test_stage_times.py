"""A stage of a build takes as long as the last time, as far as anybody knows."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from nllgen.container.stage_times import timed_stage

SECONDS = "nllgen.seconds"


def expected(cache: Path) -> tuple[int, int]:
    """Return the first report of a stage: seconds, and of how many."""
    calls: list[tuple[int, int]] = []
    was_told = threading.Event()

    def progress(elapsed: int, total: int) -> None:
        calls.append((elapsed, total))
        was_told.set()

    with timed_stage("nllgen", cache, progress, interval_s=0.01):
        assert was_told.wait(10)
    return calls[0]


def test_the_first_time_is_a_guess(tmp_path: Path) -> None:
    assert expected(tmp_path) == (0, 60)


def test_the_next_time_is_expected_to_take_as_long(tmp_path: Path) -> None:
    (tmp_path / SECONDS).write_text("345.6\n")
    assert expected(tmp_path) == (0, 346)


def test_the_time_of_a_stage_that_succeeds_is_kept(tmp_path: Path) -> None:
    with timed_stage("nllgen", tmp_path, None):
        pass
    assert float((tmp_path / SECONDS).read_text()) < 10


def test_the_time_of_a_stage_that_fails_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="failed"), timed_stage("nllgen", tmp_path, None):
        raise RuntimeError("failed")
    assert not (tmp_path / SECONDS).exists()


@pytest.mark.parametrize("content", ["", "soon", "-1", "nan", "inf", "9" * 99])
def test_a_time_that_is_none_is_a_guess(tmp_path: Path, content: str) -> None:
    (tmp_path / SECONDS).write_text(content)
    assert expected(tmp_path)[1] == 60


def test_a_cache_that_cannot_be_written_is_harmless(tmp_path: Path) -> None:
    with timed_stage("nllgen", tmp_path / "gone", None):
        pass
