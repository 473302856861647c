"""The line of overall progress: plain in a log, redrawn on a terminal."""

from __future__ import annotations

import sys

import pytest

from nllgen.cli.progress import counted, progress_line, progress_text
from tests.cli.process import shown_on_terminal

ON_TERMINAL = """
from nllgen.cli.progress import progress_line
with progress_line(print) as line:
    line.echo("began")
    line.update(3, 8, 0.4, 42.0)
"""

COUNTED = """
from nllgen.cli.progress import counted
with counted("[drawing]", print) as update:
    update(3, 8)
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


def test_a_command_is_silent_in_a_log_for_five_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    said = counted_lines(monkeypatch, seconds=5)
    assert said == []


def test_a_longer_command_prints_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    said = counted_lines(monkeypatch, seconds=30)
    assert [text.partition("  ")[2] for text in said] == [
        "drawing figures: 5 of 40, about 35 s left",
        "drawing figures: 20 of 40, about 20 s left",
    ]


def test_on_a_terminal_a_command_shows_a_bar() -> None:
    text = shown_on_terminal([sys.executable, "-c", COUNTED])
    assert "[drawing]" in text
    assert "3/8" in text


def counted_lines(monkeypatch: pytest.MonkeyPatch, seconds: int) -> list[str]:
    """Return the lines in a log of a command that does one of forty parts each second."""
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    said: list[str] = []
    with counted("drawing figures", said.append) as update:
        for second in range(seconds):
            clock[0] = float(second)
            update(second, 40)
    return said
