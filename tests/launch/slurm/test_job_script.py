"""The lines before a job's program, run by bash: a profile's setup keeps its own rules, and its failure is named."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from nllgen.launch.profile import Profile
from nllgen.launch.slurm.job_script import ENDED_EARLY, script_lines

PROGRAM = "exec sh -c 'echo began $X'"
SITE = {
    "modules.sh": 'echo "$NOT_SET"; false; export X=5\n',  # not written for set -eu
    "quits.sh": "exit 7\n",
    "strict.sh": 'set -u\necho "$NOT_SET"\n',
    "returns.sh": "true; return 5\n",
    "functions.sh": "works() { false; true; }; fails() { true; return 4; }\n",
}


def run(tmp_path: Path, *setup: str, program: str = PROGRAM, needs_setup: bool = True) -> tuple[int, str, str]:
    """Run a script in a directory with a site's files; return its exit code, output and errors."""
    for name, text in SITE.items():
        (tmp_path / name).write_text(text)
    place = tmp_path / "a b"
    place.mkdir(exist_ok=True)
    (place / "cells0.pkl").touch()
    lines = script_lines(place, place / "cells0.pkl", Profile(setup=setup), tmp_path / "code", needs_setup=needs_setup)
    (tmp_path / "script").write_text("\n".join(["#!/bin/bash", *lines, program]))
    env = os.environ | {"SLURM_ARRAY_JOB_ID": "1", "SLURM_ARRAY_TASK_ID": "0"}
    done = subprocess.run(["bash", "script"], cwd=tmp_path, env=env, capture_output=True, text=True)
    return done.returncode, done.stdout.strip(), done.stderr.strip()


@pytest.mark.parametrize(
    "setup",
    [
        ("source ./modules.sh",),
        ("source ./functions.sh", "works", "export X=5"),
        ("export X=5", "false | true", "false || true", "if false; then", "  exit 1", "fi", "! true"),
        ("[ -f not-there ] && exit 1", "export X=5"),
        ("X=5; set -u", "export X"),
        ("export X=4 \\", "  X=5"),
    ],
)
def test_a_setup_that_ends_well_reaches_the_program(tmp_path: Path, setup: tuple[str, ...]) -> None:
    code, output, errors = run(tmp_path, *setup)
    assert (code, output.splitlines()[-1], errors) == (0, "began 5", "")


@pytest.mark.parametrize(
    ("setup", "line", "code"),
    [
        (("true", "no-such-command x 'y'"), 2, 127),
        (("source ./modules.sh", "true", "source ./returns.sh"), 3, 5),
        (("true", "source ./quits.sh", "true"), 2, 7),
        (("true", "source ./strict.sh", "true"), 2, None),
        (("source ./functions.sh", "if true; then", "  fails", "fi"), 3, 4),
        (("set -E; source ./functions.sh", "fails"), 2, 4),
        (("cat <<EOF", "hello", "EOF", "false"), 4, 1),
        (("X=$(false)",), 1, 1),
        (("trap 'echo mine' EXIT", "false"), 2, 1),
        (("true", "exit 0"), 2, 0),
        (("true", "set -e; ( exit 3 )"), 2, 3),
    ],
)
def test_a_failing_setup_ends_the_job_and_names_its_line(
    tmp_path: Path, setup: tuple[str, ...], line: int, code: int | None
) -> None:
    returncode, output, errors = run(tmp_path, *setup)
    assert "began" not in output
    assert returncode != 0
    shown = errors.splitlines()[-1]
    assert shown.startswith(f"{ENDED_EARLY}line {line} of the setup of its profile ended with exit code ")
    assert shown.endswith(f": {setup[line - 1]}")
    if code is not None:
        assert f"exit code {code}: " in shown
        assert returncode == (code or 1)


def test_an_error_of_syntax_ends_the_job_and_is_named(tmp_path: Path) -> None:
    code, output, errors = run(tmp_path, "true", "if true; then")
    assert (code != 0, output) == (True, "")
    assert "syntax error" in errors
    assert ENDED_EARLY in errors


def test_a_collection_goes_on_after_a_failing_line(tmp_path: Path) -> None:
    code, output, errors = run(tmp_path, "no-such-command", "export X=5", needs_setup=False)
    assert (code, output) == (0, "began 5")
    assert "nllgen: goes on although line 1 of the setup of its profile ended with exit code 127" in errors


@pytest.mark.parametrize("program", ["false", 'echo "$NOT_SET"'])
def test_the_rest_of_the_script_is_strict_and_names_its_end(tmp_path: Path, program: str) -> None:
    code, _, errors = run(tmp_path, "true", program=program)
    assert code != 0
    assert ENDED_EARLY in errors


def test_a_pickle_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    """Publish the pickle after the script has begun, as a file server shows it to another node."""
    code, output, _ = run(tmp_path, 'mv "a b/cells0.pkl" hidden; (sleep 1; mv hidden "a b/cells0.pkl") &')
    assert (code, output) == (0, "began")
