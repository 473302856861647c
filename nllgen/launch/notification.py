"""The command that a user is told by, once at the end of a study: what it gets, and how it is run.

It is shell, written by the user who submits. Whatever it is told is in variables, never in its text.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from nllgen.errors import ConfigError
from nllgen.launch.lease import is_alive, process_identity
from nllgen.launch.secrets import check_lines
from nllgen.launch.status import TaskReport
from nllgen.launch.watch import Echo, counts_line, has_failed
from nllgen.storage.states import TaskStatus
from nllgen.storage.study_dir import StudyDir

COMMAND = "notify"  # hidden command of nllgen that notifies; it reads the user's command from standard input
_LIMIT_S = 300.0
_POLL_S = 2.0


class StudyEnd(StrEnum):
    """The ways in which a study ends."""

    DONE = "done"  # every task has a result
    FAILED = "failed"  # a task failed
    STOPPED = "stopped"  # tasks were stopped, or never started


@dataclass(frozen=True)
class Notification:
    """The state of a study at its end, as its user is told.

    Attributes:
        verdicts: for example ``C2 supported; C5 undecided``; empty where no report can be made.
    """

    study: str
    study_dir: Path
    rows: Sequence[TaskReport]
    verdicts: str = ""

    @property
    def end(self) -> StudyEnd:
        """Return the way in which the study ended."""
        if all(row.has_result for row in self.rows):
            return StudyEnd.DONE
        return StudyEnd.FAILED if has_failed(self.rows) else StudyEnd.STOPPED

    @property
    def message(self) -> str:
        """Return one line for people."""
        verdicts = f"; {self.verdicts}" if self.verdicts else ""
        return f"nllgen: study {self.study} is {self.end}: {counts_line(self.rows)}{verdicts}"

    def variables(self) -> dict[str, str]:
        """Return the environment variables of the command."""
        return {
            "NLLGEN_STUDY": self.study,
            "NLLGEN_STUDY_DIR": str(self.study_dir),
            "NLLGEN_STATE": self.end,
            "NLLGEN_NUM_TASKS": str(len(self.rows)),
            "NLLGEN_NUM_DONE": str(sum(row.has_result for row in self.rows)),
            "NLLGEN_NUM_DIVERGED": str(sum(row.status is TaskStatus.DIVERGED for row in self.rows)),
            "NLLGEN_NUM_FAILED": str(sum(has_failed([row]) for row in self.rows)),
            "NLLGEN_COUNTS": counts_line(self.rows),
            "NLLGEN_VERDICTS": self.verdicts,
            "NLLGEN_MESSAGE": self.message,
        }


def check_command(command: str) -> str:
    """Return a command that a record of a submission may hold.

    Raises:
        ConfigError: it is empty, or holds a secret.
    """
    if not command.strip():
        raise ConfigError("--notify is empty", "give a command of the shell, for example: mail -s done me@example.org")
    try:
        check_lines((command,))
    except ValueError as error:
        hint = "write the name of a variable that your shell exports, in single quotes: '… $WEBHOOK'"
        raise ConfigError(f"--notify: {error}", hint) from error
    return command


def run_command(command: str, notification: Notification, warn: Echo) -> None:
    """Run a command with the notification in its environment; its failure is a warning."""
    environment = os.environ | notification.variables()
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", command], env=environment, stdin=subprocess.DEVNULL, timeout=_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        warn(f"the command of --notify was ended after {_LIMIT_S:.0f} s")
    except OSError as error:
        warn(f"the command of --notify cannot be run: {error.strerror or error}")
    else:
        if done.returncode:
            warn(f"the command of --notify ended with exit code {done.returncode}")


def notify_when_over(study_dir: StudyDir, command: str, jobs: Sequence[Any]) -> None:
    """Start a process that outlives this one, and notifies when submitit's local jobs have ended."""
    identities = filter(None, (process_identity(int(job.job_id)) for job in jobs))
    words = [word for identity in identities for word in ("--after", identity)]
    with (study_dir.submitit / "notify.log").open("ab") as log:
        _start(study_dir, command, words, stdout=log, stderr=log, start_new_session=True)


def notify_here(study_dir: StudyDir, command: str) -> None:
    """Notify in a process of its own, and wait for it; it ends well whatever becomes of the command."""
    _start(study_dir, command, (), stdout=2).wait()  # standard output may be for JSON


def _start(study_dir: StudyDir, command: str, words: Sequence[str], **streams: Any) -> subprocess.Popen[bytes]:
    line = [sys.executable, "-m", "nllgen", COMMAND, str(study_dir.path), *words]
    process = subprocess.Popen(line, stdin=subprocess.PIPE, env=os.environ | {"PYTHONSAFEPATH": "1"}, **streams)
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin as stream:  # not on the command line, which others can read
        stream.write(command.encode())
    return process


def wait_for(identities: Sequence[str]) -> None:
    """Wait until processes have ended, each named by its pid and start time."""
    while any(map(is_alive, identities)):
        time.sleep(_POLL_S)
