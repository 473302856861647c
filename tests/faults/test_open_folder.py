"""Directories of studies that others may write: a study closes what it executes, or the command refuses to run."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from nllgen import errors
from nllgen.cli import cli
from nllgen.errors import MachineError
from nllgen.launch.code_snapshot import snapshot
from nllgen.launch.freeze import freeze
from nllgen.launch.worker_process import WorkerConfig, WorkerProcess
from nllgen.storage.ownership import OTHERS_MAY_WRITE
from nllgen.storage.provenance import code_sha256
from nllgen.storage.study_dir import StudyDir
from nllgen.study.load import parse_study
from nllgen.study.run_options import RunOptions
from tests.users import as_root

GRID = """
name: tiny
metrics: {frechet: [], num_samples: 16, num_train_eval: 16, num_kept: 4}
cells:
  - data: {source: mnist, image_size: 7, num_train: 500, num_val: 100, num_test: 100}
    flow: {width: 2, blocks: 0, scales: 1}
    paradigm: {name: nll, steps: 2, batch_size: 16, eval_every: 1}
    seed: {range: [0, 3]}
"""
STUDY = parse_study(GRID, "tiny.yaml", precision="fp32")
SOMEBODY_ELSE = 54_321
# POSIX ACL as xattr(7) has it: version 2, then tag, permissions and id of owner, group and others; rwx, rwx, r-x
GROUP_WRITES = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, permissions, 0xFFFFFFFF) for tag, permissions in ((1, 7), (4, 7), (0x20, 5))
)


def writable(folder: Path) -> list[Path]:
    paths = [folder, *folder.rglob("*")]
    return [path for path in paths if not path.is_symlink() and path.stat().st_mode & OTHERS_MAY_WRITE]


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """A project directory as sites make them: group-writable, setgid, with a default ACL that passes this on."""
    folder = tmp_path / "project"
    folder.mkdir()
    folder.chmod(0o2775)
    try:
        os.setxattr(folder, "system.posix_acl_default", GROUP_WRITES)
    except OSError as error:
        pytest.skip(f"NOT TESTED: this file system has no ACLs ({error})")
    (folder / "probe").touch(0o666)
    assert (folder / "probe").stat().st_mode & OTHERS_MAY_WRITE, "the ACL does nothing here"
    before = os.umask(0o022)
    yield folder
    os.umask(before)


def submitted(study_dir: StudyDir) -> StudyDir:
    """Add what a submission leaves: the copy of the program, and a directory of pickles."""
    snapshot(study_dir)
    study_dir.submitit.mkdir(exist_ok=True)
    (study_dir.submitit / "1_submitted.pkl").write_bytes(b"pickle")
    return study_dir


def test_a_study_in_a_shared_project_folder_is_closed_to_the_group(project: Path) -> None:
    folder, _, _ = freeze(STUDY, project / "runs")
    submitted(folder)
    folder.guard()
    assert writable(folder.path) == []
    assert list(folder.find_openings(everything=True)) == []
    (folder.path / "cells").mkdir(exist_ok=True)
    (folder.path / "cells" / "later").touch(0o666)  # what jobs will write
    assert writable(folder.path) == []


def test_a_folder_that_had_its_acl_before_is_refused(project: Path) -> None:
    (project / "tiny").mkdir()
    (project / "tiny").chmod(0o755)
    with pytest.raises(MachineError, match="a default ACL"):
        freeze(STUDY, project)


@pytest.fixture
def folder(tmp_path: Path) -> StudyDir:
    made, _, _ = freeze(STUDY, tmp_path / "runs")
    return submitted(made)


@pytest.mark.parametrize(
    "name", ["study.yaml", "manifest.jsonl", "submitit/1_submitted.pkl", "a source of the program"]
)
def test_one_file_that_others_may_write_is_enough(folder: StudyDir, name: str) -> None:
    path = next(folder.code.rglob("errors.py")) if name == "a source of the program" else folder.path / name
    path.chmod(0o664)
    with pytest.raises(MachineError, match=rf"{path} \(mode 664\)"):
        folder.guard()


def test_one_command_closes_what_was_opened(folder: StudyDir) -> None:
    for path in (folder.path, *folder.path.rglob("*")):
        path.chmod(path.stat().st_mode | 0o020)
    with pytest.raises(MachineError, match="--repair"):
        folder.guard()
    refused = CliRunner().invoke(cli, ["check", str(folder.path)])
    assert refused.exit_code == 3
    assert "--repair" in refused.output
    assert writable(folder.path), "looking changes nothing"
    mended = CliRunner().invoke(cli, ["check", str(folder.path), "--repair"])
    assert mended.exit_code == 0, mended.output
    assert writable(folder.path) == []
    folder.guard()


@as_root
@pytest.mark.parametrize("name", ["code", "submitit", "submitit/1_submitted.pkl"])
def test_what_another_user_owns_is_refused_and_cannot_be_repaired(folder: StudyDir, name: str) -> None:
    os.chown(folder.path / name, SOMEBODY_ELSE, -1)
    with pytest.raises(MachineError, match=f"owned by user {SOMEBODY_ELSE}"):
        folder.guard()
    mended = CliRunner().invoke(cli, ["check", str(folder.path), "--repair"])
    assert mended.exit_code == 3
    assert "1 left" in mended.output


@pytest.mark.parametrize(
    "change", ["a line more", "a module more", "a library in its place", "a file less", "a link", "bytecode"]
)
def test_a_copy_of_the_program_that_was_changed_is_made_anew(folder: StudyDir, change: str) -> None:
    """The copy may have come with the directory, or be half restored: its name proves nothing."""
    copy = snapshot(folder)
    source = copy / "nllgen" / "errors.py"
    original = source.read_bytes()
    cached = source.parent / "__pycache__" / "errors.cpython-311.pyc"
    if change == "a line more":
        source.write_bytes(original + b"\nimport os\n")
    elif change == "a module more":
        (source.parent / "torch.py").write_text("")
    elif change == "a library in its place":
        (source.parent / "errors.abi3.so").write_bytes(b"\x7fELF")
    elif change == "a file less":
        source.unlink()
    elif change == "a link":  # to an equal file, until somebody changes that
        source.unlink()
        source.symlink_to(Path(errors.__file__))
    else:
        cached.parent.mkdir(exist_ok=True)
        cached.write_bytes(b"foreign")
    assert snapshot(folder) == copy
    assert source.read_bytes() == original
    assert not source.is_symlink()
    assert not cached.exists()
    assert not (source.parent / "torch.py").exists()
    assert not (source.parent / "errors.abi3.so").exists()
    assert len(list(folder.code.glob("*.damaged"))) == (change != "bytecode")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with an edited program in it, as after a submission from a checkout."""
    package = tmp_path / "checkout" / "nllgen"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('the edited program was run')")
    monkeypatch.chdir(package.parent)
    return package.parent


def exit_of_worker(config: WorkerConfig, study_dir: StudyDir) -> tuple[int, str]:
    """Return the exit code and the log of a worker whose standard input is closed at once."""
    log = study_dir.path / "worker.log"
    argv, variables = config.command(study_dir.path, 1, ())
    worker = WorkerProcess(argv, variables, log)
    worker.close(60.0)
    return worker.process.returncode, log.read_text()


def test_a_worker_runs_nothing_of_its_working_directory(folder: StudyDir, checkout: Path) -> None:
    config = WorkerConfig(RunOptions(checkout / "assets", "cpu", code_sha256=code_sha256()), code=snapshot(folder))
    assert exit_of_worker(config, folder) == (0, "")


def test_another_program_than_the_submitted_one_is_refused(folder: StudyDir) -> None:
    config = WorkerConfig(RunOptions(folder.path / "assets", "cpu", code_sha256="0" * 64), code=snapshot(folder))
    code, log = exit_of_worker(config, folder)
    assert code == 3
    assert "not the program that the study was submitted with" in log
    assert "Traceback" not in log
