"""Why jobs wait, and what was cancelled, as the commands print it; Slurm's programs are stand-ins."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from nllgen.launch.slurm.arrays import Stage, Submission, SubmissionDir
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import tasks_of
from tests.cli.process import NLLGEN, Run, frozen, shown_on_terminal

LINES = """Welcome, 7 users
7_0|nllgen:tiny:abc:cells0|PENDING|(JobHeldUser)|N/A
7_1|nllgen:tiny:abc:cells0|PENDING|(Priority)|2026-12-01T08:00:00
8|nllgen:tiny:abc:collect|PENDING|(Dependency)|N/A"""


@pytest.fixture
def folder(tmp_path: Path) -> StudyDir:
    """Return a study of two cells whose jobs wait."""
    folder = StudyDir(frozen(tmp_path))
    names = [task.name for task in tasks_of(folder.read_study(), folder)]
    where = SubmissionDir(folder.submitit / "abc")
    where.path.mkdir(parents=True)
    where.write(Submission("abc", (Stage("cells0", tuple((name,) for name in names)),)))
    return folder


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Return a PATH on which Slurm's programs answer."""
    programs = tmp_path / "bin"
    programs.mkdir()
    answers = {"squeue": f"cat <<'END'\n{LINES}\nEND", "scancel": f'echo "$@" >> {tmp_path}/cancelled'}
    for name, script in answers.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    return f"{programs}{os.pathsep}{os.environ['PATH']}"


def test_status_shows_the_reason_and_what_to_do(nllgen: Run, folder: StudyDir, path: str) -> None:
    shown = nllgen("status", folder.path, PATH=path)
    assert "1 waits (job 7_0): JobHeldUser: held by its owner; to let it start: scontrol release 7_0" in shown.stdout
    assert "jobs of higher priority come first; expected to start 2026-12-01 08:00" in shown.stdout
    assert "1 lines that squeue printed are no lines of jobs" in shown.stderr


def test_json_has_the_reason_the_job_and_the_start(nllgen: Run, folder: StudyDir, path: str) -> None:
    found = json.loads(nllgen("status", folder.path, "--json", PATH=path).stdout)
    rows = [(row["job"], row["reason"], row["starts_at"]) for row in found["tasks"]]
    assert rows == [("7_0", "JobHeldUser", ""), ("7_1", "Priority", "2026-12-01T08:00:00")]
    assert "scontrol release 7_0" in found["tasks"][0]["detail"]
    assert (found["num_unread_lines"], found["collection"]) == (1, None)


def on_terminal(columns: int, *words: str, path: str) -> list[str]:
    env = os.environ | {"PATH": path, "COLUMNS": str(columns), "TERM": "xterm"}
    shown = shown_on_terminal([NLLGEN, *words], env, is_error=False)
    return re.sub(r"\x1b\[[0-9;]*m|\r", "", shown).splitlines()


def test_the_table_can_be_read_at_eighty_columns(folder: StudyDir, path: str) -> None:
    lines = on_terminal(80, "status", str(folder.path), path=path)
    rows = [line for line in lines if "7_0" in line and "JobHeldUser" in line and "queued" in line]
    (row,) = rows  # the reason stays on the line of its task
    assert row.startswith(tasks_of(folder.read_study(), folder)[0].name)
    assert max(map(len, lines)) <= 80
    wide = on_terminal(160, "status", str(folder.path), path=path)
    assert any("log.txt" in line for line in wide)


def test_a_cancellation_names_what_waited(nllgen: Run, folder: StudyDir, path: str, tmp_path: Path) -> None:
    told = nllgen("cancel", folder.path, PATH=path)
    assert "3 jobs waited and will not start: 7 (2 elements), 8\n" in told.stdout
    assert " ran " not in told.stdout
    assert (tmp_path / "cancelled").read_text() == "--state=PENDING 7 8\n8\n"
