"""The line of overall progress: plain in a log, redrawn on a terminal."""

from __future__ import annotations

import sys

import pytest

from nllgen.cli.progress import progress_line, progress_text
from tests.cli.process import shown_on_terminal

ON_TERMINAL = """
from nllgen.cli.progress import progress_line
with progress_line(print) as line:
    line.echo("began")
    line.update(3, 8, 0.4, 42.0)
"""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "3 of 8 runs done"),
        (42.4, "3 of 8 runs done, about 42 s left"),
        (150.0, "3 of 8 runs done, about 2 min left"),
        (7300.0, "3 of 8 runs done, about 2 h 2 min left"),
    ],
)
def test_the_time_left_is_shown_in_the_unit_that_fits(seconds: float | None, text: str) -> None:
    assert progress_text(3, 8, seconds) == text


def test_in_a_log_a_line_is_printed_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    said: list[str] = []
    with progress_line(said.append) as line:
        for second in range(40):
            clock[0] = float(second)
            line.update(1, 2, 0.5, 60.0)
    assert [text.partition("  ")[2] for text in said] == ["1 of 2 runs done, about 60 s left"] * 2


def test_on_a_terminal_one_line_is_drawn_again() -> None:
    text = shown_on_terminal([sys.executable, "-c", ON_TERMINAL])
    assert "began" in text
    assert "3 of 8 runs done, about 42 s left" in text
    assert "\r" in text
