"""Control characters from elsewhere: whatever a command prints, a terminal obeys none of them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import nllgen.cli
from nllgen.cli import app, output
from nllgen.cli.crash import report_crash
from nllgen.cli.screen import screen
from nllgen.errors import ConfigError, MachineError
from nllgen.launch.eta import Throughput
from nllgen.launch.status import TaskReport
from nllgen.storage.states import TaskStatus
from nllgen.storage.untrusted import escape_controls, parse_untrusted_json

# an escape sequence, one of a single character, a bell, a reversed direction of text, a carriage return
HOSTILE = "before\x1b]0;owned\x07\x1b[2J\x9b31m\u202eafter\rover"
FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def is_clean(shown: str) -> bool:
    return "before" in shown and "owned" in shown and not FORBIDDEN.search(shown)


@pytest.mark.parametrize("print_", [output.echo, output.warn, output.echo_part, output.print_tables])
def test_a_printed_text_is_escaped(capsys: pytest.CaptureFixture[str], print_: object) -> None:
    assert callable(print_)
    print_(HOSTILE)
    shown = capsys.readouterr()
    assert is_clean(shown.out + shown.err)


def test_a_printed_table_is_escaped_and_keeps_its_style(capsys: pytest.CaptureFixture[str]) -> None:
    rows = output.table("id", HOSTILE)
    rows.add_row("x", HOSTILE)
    output.print_tables(rows)
    assert is_clean(capsys.readouterr().out)
    console = output.make_console(60)
    console._force_terminal = True
    console._color_system = None
    with console.capture() as captured:
        console.print(HOSTILE, style="bold")
    assert "owned" in captured.get()
    assert "\x1b]0" not in captured.get()


def test_the_screen_of_a_study_is_escaped() -> None:
    row = TaskReport(HOSTILE, HOSTILE, TaskStatus.FAILED, 1, HOSTILE, HOSTILE, note=HOSTILE)
    console = output.make_console(400)
    with console.capture() as captured:
        console.print(screen([row], HOSTILE, Throughput(None, None, None), 20))
    assert is_clean(captured.get())


@pytest.mark.parametrize(
    "error", [ConfigError(HOSTILE, HOSTILE), MachineError(HOSTILE), OSError(5, HOSTILE, HOSTILE), KeyError(HOSTILE)]
)
def test_an_error_is_escaped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, tmp_path: Path
) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(app.cli, "main", fail)
    with pytest.raises(SystemExit):
        app.main()
    shown = capsys.readouterr().err
    assert not FORBIDDEN.search(shown)
    assert "owned" in shown


def test_a_crash_is_escaped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with pytest.raises(SystemExit):
        report_crash(RuntimeError(HOSTILE))
    assert not FORBIDDEN.search(capsys.readouterr().err)


def test_an_argument_is_escaped(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A shell expands * to names of files."""
    for words in (
        ["plan", "--grid", "x", HOSTILE],
        ["status", HOSTILE],
        [HOSTILE],
        ["report", "--width", HOSTILE],
        ["export", HOSTILE, "--format", "csv"],
        ["compare", f"{HOSTILE}:paradigm={HOSTILE}", "b"],
    ):
        monkeypatch.setattr(sys, "argv", ["nllgen", *words])
        with pytest.raises(SystemExit):
            app.main()
        shown = capsys.readouterr().err
        assert not FORBIDDEN.search(shown), words


def test_all_output_of_commands_passes_one_place() -> None:
    """Nothing else of the command line prints."""
    others = [path for path in Path(nllgen.cli.__file__).parent.glob("*.py") if path.name != "output.py"]
    prints = re.compile(r"(?<![\w.])print\(|click\.s?echo\(|\bConsole\(|sys\.std(out|err)\.write")
    assert [path.name for path in others if prints.search(path.read_text())] == []


def test_an_escape_that_json_hides_is_escaped() -> None:
    assert parse_untrusted_json('["\\u202e\\u001b"]') == ["\ufffd␛"]
    assert escape_controls("a\tb\nc") == "a\tb\nc"
