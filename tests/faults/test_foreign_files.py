"""Study directories from others: reading commands end, and print no control sequences."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nllgen.cli import cli
from nllgen.data.published import load_published
from nllgen.errors import CorruptFileError, MachineError, NllgenError
from nllgen.launch.freeze import freeze
from nllgen.launch.tasks import read_attempts
from nllgen.launch.worker_process import WorkerConfig
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import tasks_of
from nllgen.study.load import parse_study
from nllgen.study.run_options import RunOptions
from nllgen.study.untrusted_files import RECORD_BYTES, read_regular

pytestmark = pytest.mark.timeout(60)  # the fault is a read that blocks for ever
GRID = """
name: tiny
cells:
  - {data: {source: mnist, image_size: 7}, flow: {width: 2, scales: 1}, paradigm: {name: nll, steps: 2}, seed: [0, 1]}
"""
ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m"


@pytest.fixture
def folder(tmp_path: Path) -> StudyDir:
    made, study, _ = freeze(parse_study(GRID, "tiny.yaml", precision="fp32"), tmp_path)
    for cell in study.cells:
        made.cell(cell.id).path.mkdir(parents=True)
    return made


def nllgen(*words: str) -> Result:
    return CliRunner().invoke(cli, words)


def fifo(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


@pytest.mark.parametrize("name", ["study.yaml", "manifest.jsonl"])
def test_a_pipe_in_place_of_the_study_is_refused(folder: StudyDir, name: str) -> None:
    fifo(folder.path / name)
    for command in ("status", "collect"):
        refused = nllgen(command, str(folder.path)).exception
        assert isinstance(refused, NllgenError)
        assert "is not a regular file" in str(refused)


@pytest.mark.parametrize("name", ["attempts.jsonl", "lease", "progress.json", "stop"])
def test_a_pipe_beside_a_cell_blocks_no_command(folder: StudyDir, name: str) -> None:
    study = folder.read_study()
    task = tasks_of(study, folder)[0]
    fifo(task.task_dir.path / name)
    done = nllgen("status", str(folder.path), "--json")
    assert done.exit_code == 0, done.exception
    assert sum(json.loads(done.output)["counts"].values()) == 2


def test_a_pipe_in_place_of_a_log_reads_as_an_empty_log(folder: StudyDir) -> None:
    task = tasks_of(folder.read_study(), folder)[0]
    fifo(task.log)
    assert nllgen("logs", str(folder.path), task.name).output == ""


def test_a_link_to_a_link_to_a_pipe_is_not_read(tmp_path: Path) -> None:
    fifo(tmp_path / "pipe")
    (tmp_path / "inner").symlink_to(tmp_path / "pipe")
    (tmp_path / "outer").symlink_to(tmp_path / "inner")
    with pytest.raises(OSError, match="is not a regular file"):
        read_regular(tmp_path / "outer")


def test_a_record_without_end_is_not_read_whole(folder: StudyDir) -> None:
    task = tasks_of(folder.read_study(), folder)[0]
    with task.attempts.open("wb") as file:
        file.truncate(RECORD_BYTES + 1)  # a sparse file
    assert read_attempts(task.attempts) == []


def test_an_alias_bomb_in_a_frozen_study_is_refused(folder: StudyDir) -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    folder.header.write_text("\n".join(levels) + "\n" + folder.header.read_text())
    with pytest.raises(CorruptFileError, match="alias"):
        folder.read_study()


def test_control_sequences_in_attempts_are_escaped(folder: StudyDir) -> None:
    for task in tasks_of(folder.read_study(), folder):
        lines = [
            {"event": "started", "attempt": f"a{ESCAPES}", "submission": ESCAPES, "job": ESCAPES},
            {"event": "failed", "attempt": f"a{ESCAPES}", "kind": "error", "reason": ESCAPES, "exit_code": 1},
        ]
        task.attempts.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for words in (["status"], ["retry", "--dry-run"], ["logs"]):
        more = [tasks_of(folder.read_study(), folder)[0].name] if words == ["logs"] else []
        done = nllgen(words[0], str(folder.path), *words[1:], *more)
        shown = done.output + str(done.exception or "")
        assert not {"\x1b", "\x07", "\x9b"} & set(shown), words
    assert "owned" in nllgen("retry", str(folder.path), "--dry-run").output, "the escaped text is shown"


def test_a_record_of_a_submission_names_no_program() -> None:
    values = WorkerConfig(RunOptions(Path("assets")), program=("rm", "-rf", "/")).to_record()
    assert values["program"] == ["rm", "-rf", "/"]
    assert WorkerConfig.from_record(values).program == ()


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_a_missing_standard_stream_is_replaced(folder: StudyDir, closed: tuple[int, ...]) -> None:
    """Otherwise the next file to be opened gets the stream's number, and output is written into it."""
    words = [sys.executable, "-m", "nllgen", "status", str(folder.path), "--json"]
    script = f"import os; [os.close(number) for number in {closed}]; os.execv({words[0]!r}, {words!r})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if 1 not in closed:
        assert json.loads(done.stdout)["counts"]["waiting"] == 2
    assert folder.read_study().name == "tiny"


def test_a_study_that_cannot_be_read_now_is_not_called_damaged(
    folder: StudyDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_os_error(path: Path, *_: object) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("nllgen.storage.study_dir.read_regular", raise_os_error)
    with pytest.raises(MachineError, match="Permission denied"):
        folder.read_study()


def test_no_file_that_a_command_is_given_is_waited_for(tmp_path: Path) -> None:
    """Nothing writes into the pipe, and a device has no end."""
    fifo(tmp_path / "pipe")
    (tmp_path / "mnist").mkdir()
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        fifo(tmp_path / "mnist" / name)
    with pytest.raises(CorruptFileError, match="is not a regular file"):
        load_published(tmp_path / "mnist")
    grid = tmp_path / "grid.yaml"
    grid.write_text(GRID)
    for file in (str(tmp_path / "pipe"), "/dev/zero"):
        for words in (
            ["plan", "--grid", file],
            ["submit", "--grid", str(grid), "--root", str(tmp_path), "--local", "--container", file],
            ["submit", "--grid", str(grid), "--root", str(tmp_path), "--profile", file],
            ["score", "--truth", file, "--log-probs", file],
            ["draw", file],
            ["report", file, "--out", str(tmp_path / "report")],
            ["export", file, "--format", "csv", "--out", str(tmp_path / "csv")],
            ["compare", file, file],
        ):
            assert isinstance(nllgen(*words).exception, NllgenError), words


def test_a_file_of_any_declared_size_is_not_hashed(folder: StudyDir) -> None:
    """A sparse file takes a byte on the disk and an hour to read."""
    result = folder.cell(folder.read_study().cells[0].id).result
    with result.open("wb") as file:
        file.write(b"nllgen sha256 ")
        file.truncate(1 << 42)
    assert json.loads(nllgen("status", str(folder.path), "--json").output)["counts"]["damaged"] == 1
