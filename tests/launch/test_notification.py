"""The command at the end of a study: its environment, and that nothing in it becomes shell."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from nllgen.cli.notifying import send_notification
from nllgen.errors import ConfigError
from nllgen.launch.lease import process_identity
from nllgen.launch.notification import Notification, StudyEnd, check_command, run_command, wait_for
from nllgen.launch.status import TaskReport
from nllgen.storage.states import TaskStatus
from nllgen.storage.study_dir import StudyDir

DONE, FAILED, DIVERGED, WAITING = TaskStatus.DONE, TaskStatus.FAILED, TaskStatus.DIVERGED, TaskStatus.WAITING


def notification(*states: TaskStatus, study_dir: Path = Path("runs/tiny"), verdicts: str = "") -> Notification:
    rows = [TaskReport(str(number), "", state, 1, "") for number, state in enumerate(states)]
    return Notification("tiny", study_dir, rows, verdicts)


def warnings_of(command: str, told: Notification) -> list[str]:
    warnings: list[str] = []
    run_command(command, told, warnings.append)
    return warnings


@pytest.mark.parametrize(
    ("states", "end"),
    [
        ((DONE, DIVERGED), StudyEnd.DONE),
        ((DONE, FAILED, WAITING), StudyEnd.FAILED),
        ((DONE, WAITING), StudyEnd.STOPPED),
    ],
)
def test_a_study_ends_as_its_tasks_do(states: tuple[TaskStatus, ...], end: StudyEnd) -> None:
    assert notification(*states).end is end


def test_the_counts_are_told() -> None:
    told = notification(DONE, DIVERGED, FAILED, WAITING).variables()
    names = ("NUM_TASKS", "NUM_DONE", "NUM_DIVERGED", "NUM_FAILED", "STATE")
    assert [told[f"NLLGEN_{name}"] for name in names] == ["4", "2", "1", "1", "failed"]


def test_the_message_has_counts_and_verdicts() -> None:
    told = notification(DONE, FAILED, verdicts="C2 supported; 8 undecided")
    assert told.message == "nllgen: study tiny is failed: 1 done, 1 failed; C2 supported; 8 undecided"


def test_a_shell_runs_the_command_with_the_variables(tmp_path: Path) -> None:
    warnings = warnings_of(f'printf %s "$NLLGEN_MESSAGE" | tr a-z A-Z > {tmp_path}/told', notification(DONE))
    assert warnings == []
    assert (tmp_path / "told").read_text() == "NLLGEN: STUDY TINY IS DONE: 1 DONE"


@pytest.mark.parametrize("name", ["$(touch PLACE)", "`touch PLACE`", "'; touch PLACE; '", 'a"; touch PLACE; "'])
def test_nothing_in_a_variable_is_run(tmp_path: Path, name: str) -> None:
    place = tmp_path / "touched"
    study_dir = Path(name.replace("PLACE", str(place)))
    told = notification(DONE, study_dir=study_dir)
    assert warnings_of(f'printf %s "$NLLGEN_STUDY_DIR" > {tmp_path}/told; : $NLLGEN_STUDY_DIR', told) == []
    assert (tmp_path / "told").read_text() == str(study_dir)
    assert not place.exists()


def test_its_failure_is_a_warning() -> None:
    assert warnings_of("exit 7", notification(DONE)) == ["the command of --notify ended with exit code 7"]


@pytest.mark.parametrize(
    "error", [ValueError("no axis"), MemoryError(), OSError(5, "I/O error"), ConfigError("no", "")]
)
def test_verdicts_that_cannot_be_made_are_a_warning(
    folder: StudyDir,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("nllgen_analysis.frames.load", fail)
    monkeypatch.setattr("nllgen.cli.notifying.up_to_date", lambda *_: folder.path)
    send_notification(folder, f'printf %s "$NLLGEN_VERDICTS." > {tmp_path}/told')
    assert (tmp_path / "told").read_text() == "."
    assert "no verdicts: " in capsys.readouterr().err


def test_it_is_ended_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nllgen.launch.notification._LIMIT_S", 0.2)
    started = time.monotonic()
    (warning,) = warnings_of("exec sleep 60", notification(DONE))
    assert "was ended" in warning
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("command", ["", "  \n", "API_TOKEN=abc curl x", "curl https://me:word@example.org"])
def test_an_empty_command_and_a_secret_are_refused(command: str) -> None:
    with pytest.raises(ConfigError, match="--notify"):
        check_command(command)


def test_a_secret_in_a_variable_is_named() -> None:
    assert check_command('curl -d "$NLLGEN_MESSAGE" "$WEBHOOK"') == 'curl -d "$NLLGEN_MESSAGE" "$WEBHOOK"'


def test_a_process_that_is_gone_is_not_waited_for() -> None:
    pid = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-c", ""])
    identity = process_identity(pid) or f"{pid}:0"
    os.waitpid(pid, 0)
    wait_for([identity, "1:0"])  # and another process has got the number of the second


def test_a_live_process_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nllgen.launch.notification._POLL_S", 0.05)
    pid = os.spawnv(os.P_NOWAIT, "/bin/sleep", ["sleep", "0.5"])
    started = time.monotonic()
    wait_for([process_identity(pid) or ""])
    assert time.monotonic() - started > 0.3
    os.waitpid(pid, 0)
