"""What another user may put in the way of the program: links, customisations of Python, entries of its path."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nllgen.cli import cli
from nllgen.errors import MachineError
from nllgen.launch.code_snapshot import snapshot
from nllgen.launch.profile import Profile
from nllgen.launch.slurm.job_script import _require_owner, script_lines
from nllgen.launch.worker_process import WorkerConfig, isolated
from nllgen.storage.ownership import OTHERS_MAY_WRITE
from nllgen.storage.provenance import code_sha256
from nllgen.storage.study_dir import StudyDir
from nllgen.study.run_options import RunOptions
from tests.faults.test_open_folder import GRID, SOMEBODY_ELSE, checkout, exit_of_worker, folder, writable
from tests.users import as_root

__all__ = ["checkout", "folder"]

EVIL = "raise SystemExit('foreign code was run')\n"


def check(study_dir: StudyDir, *options: str) -> Result:
    return CliRunner().invoke(cli, ["check", str(study_dir.path), *options])


def moved_away(path: Path, tmp_path: Path) -> Path:
    """Replace a file or directory by a link to it elsewhere, as another user's archive may have it."""
    target = tmp_path / "elsewhere"
    path.rename(target)
    path.symlink_to(target)
    return path


def shadowed(path: Path, tmp_path: Path) -> Path:
    """Link a directory, which Python would import in the place of a module."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "__init__.py").write_text(EVIL)
    path.symlink_to(tmp_path / "elsewhere")
    return path


LINKS: dict[str, Callable[[Path, Path], Path]] = {
    "the copy": lambda copy, tmp_path: moved_away(copy, tmp_path),
    "the package": lambda copy, tmp_path: moved_away(copy / "nllgen", tmp_path),
    "a directory": lambda copy, tmp_path: moved_away(copy / "nllgen" / "launch", tmp_path),
    "a module": lambda copy, tmp_path: moved_away(copy / "nllgen" / "errors.py", tmp_path),
    "a package in a module's place": lambda copy, tmp_path: shadowed(copy / "nllgen" / "errors", tmp_path),
    "bytecode": lambda copy, tmp_path: shadowed(copy / "nllgen" / "__pycache__", tmp_path),
}


@pytest.mark.parametrize("name", LINKS)
def test_a_link_in_the_copy_of_the_program_is_refused_and_not_followed(
    folder: StudyDir, tmp_path: Path, name: str
) -> None:
    """What it leads to has the right content now, and others may change it between this moment and the job's start."""
    copy = snapshot(folder)
    link = LINKS[name](copy, tmp_path)
    assert link.is_symlink()
    with pytest.raises(MachineError, match=rf"{link} \(a link to "):
        folder.guard()
    assert check(folder).exit_code == 3
    mended = check(folder, "--repair")
    assert mended.exit_code == 0, mended.output
    folder.guard()
    assert not link.is_symlink()
    made = snapshot(folder)
    assert [path for path in (made, *made.rglob("*")) if path.is_symlink()] == []
    assert (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("name", LINKS)
def test_a_copy_with_a_link_is_made_anew_even_without_a_repair(folder: StudyDir, tmp_path: Path, name: str) -> None:
    copy = snapshot(folder)
    LINKS[name](copy, tmp_path)
    assert snapshot(folder) == copy
    assert [path for path in (copy, *copy.rglob("*")) if path.is_symlink()] == []


def test_a_linked_directory_of_pickles_is_refused(folder: StudyDir, tmp_path: Path) -> None:
    moved_away(folder.submitit, tmp_path)
    with pytest.raises(MachineError, match=rf"{folder.submitit} \(a link to "):
        folder.guard()
    assert check(folder, "--repair").exit_code == 0
    folder.guard()


def test_a_linked_file_of_the_frozen_study_is_refused_and_stays(folder: StudyDir, tmp_path: Path) -> None:
    moved_away(folder.header, tmp_path)
    with pytest.raises(MachineError, match=rf"{folder.header} \(a link to "):
        folder.guard()
    mended = check(folder, "--repair")
    assert (mended.exit_code, folder.header.is_symlink()) == (3, True)
    assert "a link instead of a file" in mended.output


def test_submitits_own_links_are_no_openings(folder: StudyDir) -> None:
    (folder.submitit / "1_0_submitted.pkl").symlink_to("1_submitted.pkl")
    (folder.submitit / "submission_file.sh").symlink_to(folder.submitit / "1_submitted.pkl")
    folder.guard()
    assert check(folder).exit_code == 0


@as_root
def test_a_linked_study_directory_of_another_user_is_refused(folder: StudyDir, tmp_path: Path) -> None:
    moved_away(folder.path, tmp_path)
    folder.guard()  # one's own, on another disk
    os.chown(tmp_path / "elsewhere", SOMEBODY_ELSE, -1)
    with pytest.raises(MachineError, match="another user's"):
        folder.guard()


@pytest.mark.parametrize("name", ["sitecustomize.py", "usercustomize.py", "evil.pth", "submitit.py", "nllgen.py"])
def test_what_python_would_import_beside_the_package_makes_a_copy_wrong(folder: StudyDir, name: str) -> None:
    copy = snapshot(folder)
    (copy / name).write_text(EVIL)
    assert "not the program that it is named after" in check(folder, "--repair").output
    assert not copy.exists()
    assert [path.name for path in snapshot(folder).iterdir()] == ["nllgen"]


def test_a_repair_moves_a_copy_aside_that_others_have_changed(folder: StudyDir) -> None:
    """Its modes alone do not show that a line was added while they were open; queued jobs would run it."""
    copy = snapshot(folder)
    for path in (folder.path, *folder.path.rglob("*")):
        path.chmod(path.stat().st_mode | 0o020)
    with (copy / "nllgen" / "errors.py").open("a") as file:
        file.write("import os\n")
    mended = check(folder, "--repair")
    assert mended.exit_code == 0, mended.output
    assert f"{copy}: not the program that it is named after" in mended.output
    assert "others may have changed what queued jobs run: nllgen cancel" in mended.output
    assert (copy.exists(), writable(folder.path)) == (False, [])


def test_a_copy_is_named_by_its_full_digest_and_a_true_one_stays(folder: StudyDir) -> None:
    copy = snapshot(folder)
    assert re.fullmatch("[0-9a-f]{64}", copy.name)
    assert copy.name == code_sha256()
    inode = copy.stat().st_ino
    assert check(folder, "--repair").exit_code == 0
    assert copy.stat().st_ino == inode


# Python's path


@pytest.mark.parametrize("path", ["", ":/nowhere::/nowhere:"])
def test_an_empty_part_of_the_path_is_not_the_working_directory(
    folder: StudyDir, checkout: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """`export PYTHONPATH=$PYTHONPATH:/x` leaves an empty part, and Python takes it for the working directory."""
    for name in ("pydantic", "sitecustomize", "numpy"):
        (checkout / f"{name}.py").write_text(EVIL)
    monkeypatch.setenv("PYTHONPATH", path)
    config = WorkerConfig(RunOptions(checkout / "assets", "cpu", code_sha256=code_sha256()), code=snapshot(folder))
    assert exit_of_worker(config, folder) == (0, "")
    assert "" not in isolated(config.code or Path())["PYTHONPATH"].split(":")


def test_a_relative_part_of_the_path_stays_what_it_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "models:/site")
    assert isolated(Path("/code"))["PYTHONPATH"] == f"/code:{tmp_path}/models:/site"


def test_nothing_beside_a_grid_or_in_the_working_directory_is_run(checkout: Path) -> None:
    for name in ("nllgen", "yaml", "click", "pydantic", "sitecustomize", "usercustomize"):
        (checkout / f"{name}.py").write_text(EVIL)
    (checkout / "tiny.yaml").write_text(GRID)
    command = [str(Path(sys.executable).with_name("nllgen")), "plan", "--grid", "tiny.yaml", "--root", "runs"]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# what a queued job starts


@as_root
def test_a_job_ends_where_another_user_has_put_files_in_the_place_of_its_own(folder: StudyDir) -> None:
    """Who may write above the study can rename it while the job is queued, and make a directory of the same name."""
    copy = snapshot(folder)
    pickle = folder.submitit / "1_submitted.pkl"
    script = "\n".join(["set -euo pipefail", *_require_owner(pickle, copy), "echo started"])

    def run(user: int | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["bash", "-c", script], capture_output=True, text=True, user=user)

    assert run().stdout == "started\n"
    for path in (pickle, copy):
        os.chown(path, SOMEBODY_ELSE, -1)
        refused = run()
        assert (refused.returncode, refused.stdout) == (3, "")
        assert f"{path} belongs to another user" in refused.stderr
        os.chown(path, os.geteuid(), -1)


def test_the_script_of_a_job_has_no_empty_part_of_the_path(folder: StudyDir) -> None:

    lines = script_lines(folder.submitit, folder.submitit / "1_submitted.pkl", Profile(), snapshot(folder))
    exports = [line for line in lines if "PYTHONPATH" in line]
    for before, after in (("", ""), (":", ""), (":/a::/b:", ":/a:/b"), ("/a", ":/a")):
        script = "\n".join([f"export PYTHONPATH={shlex.quote(before)}", *exports, "printenv PYTHONPATH PYTHONSAFEPATH"])
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], capture_output=True, text=True)
        assert done.stdout == f"{snapshot(folder)}{after}\n1\n", done.stderr
    assert not snapshot(folder).stat().st_mode & OTHERS_MAY_WRITE
