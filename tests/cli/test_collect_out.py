"""`collect -o` replaces an older study.h5 of the same study, and nothing else without --force."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest
from click.testing import CliRunner, Result

from nllgen.cli import cli
from nllgen.errors import ConfigError
from nllgen.launch.freeze import freeze
from nllgen.storage.study_dir import StudyDir
from nllgen.study.load import parse_study
from tests.cli.process import TINY

NOTHING_YET = 1  # of the studies here no cell has a result; the file is written all the same


@pytest.fixture
def folder(tmp_path: Path) -> StudyDir:
    return freeze(parse_study(TINY, "tiny.yaml", precision="fp32"), tmp_path / "runs")[0]


def collect(folder: StudyDir, out: Path, *more: str) -> Result:
    return CliRunner().invoke(cli, ["collect", str(folder.path), "-o", str(out), "--allow-missing", *more])


def test_an_older_file_of_the_same_study_is_replaced(folder: StudyDir, tmp_path: Path) -> None:
    out = tmp_path / "study.h5"
    assert collect(folder, out).exit_code == NOTHING_YET
    before = out.stat().st_ino
    assert collect(folder, out).exit_code == NOTHING_YET
    assert out.stat().st_ino != before


KINDS = ["text", "another study", "a result", "a folder", "a dangling link", "a link", "a pipe", "a socket"]


@pytest.mark.parametrize("kind", KINDS)
def test_anything_else_stays_as_it_is(folder: StudyDir, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "mine"
    if kind == "text":
        out.write_text("mine")
    elif kind == "another study":
        other = parse_study(TINY.replace("name: tiny", "name: other"), "other.yaml", precision="fp32")
        assert collect(freeze(other, tmp_path / "runs")[0], out).exit_code == NOTHING_YET
    elif kind == "a result":
        with h5py.File(out, "w") as file:
            file.attrs["schema"] = 2
    elif kind == "a folder":
        out.mkdir()
    elif kind == "a link":  # to what may be replaced; the link itself may not
        assert collect(folder, tmp_path / "older.h5").exit_code == NOTHING_YET
        out.symlink_to(tmp_path / "older.h5")
    elif kind == "a pipe":
        os.mkfifo(out)
    elif kind == "a socket":
        os.mknod(out, 0o600 | stat.S_IFSOCK)
    else:
        out.symlink_to(tmp_path / "nowhere")
    before = out.lstat()
    refused = collect(folder, out)
    assert isinstance(refused.exception, ConfigError)
    assert "--force" in str(refused.exception)
    assert (out.lstat().st_ino, out.lstat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_result_of_the_study_stays_as_it_is(bare_study: StudyDir, copy_of: Callable[[StudyDir], StudyDir]) -> None:
    study_dir = copy_of(bare_study)
    for out in (next(study_dir.path.glob("cells/*/result.h5")), study_dir.header, study_dir.manifest):
        content = out.read_bytes()
        for path in (out, out.with_name(f"{out.name}.hard")):
            if path != out:
                path.hardlink_to(out)
            refused = collect(study_dir, path)
            assert isinstance(refused.exception, ConfigError)
            assert out.read_bytes() == content


def test_force_replaces_any_file(folder: StudyDir, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    out.write_text("mine")
    done = collect(folder, out, "--force")
    assert done.exit_code == NOTHING_YET, done.output
    with h5py.File(out) as file:
        assert file.attrs["name"] == "tiny"


def test_the_file_in_the_study_directory_is_replaced(folder: StudyDir) -> None:
    (folder.path / "study.h5").write_bytes(os.urandom(64))
    done = CliRunner().invoke(cli, ["collect", str(folder.path), "--allow-missing"])
    assert done.exit_code == NOTHING_YET, done.output
