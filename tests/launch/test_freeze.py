from __future__ import annotations

import errno
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from nllgen.errors import ConflictError, CorruptFileError, MachineError
from nllgen.launch import attempt
from nllgen.launch import submission_lock as lock
from nllgen.launch.code_snapshot import snapshot, snapshot_folder
from nllgen.launch.freeze import freeze
from nllgen.launch.lease import LEASE_S, LeaseManager
from nllgen.storage.study_dir import StudyDir
from nllgen.study.config import Study


@pytest.fixture
def parts(tiny: Study) -> list[Study]:
    """Return the study with one, two and three cells."""
    return [tiny.model_copy(update={"cells": tiny.cells[:n]}) for n in (1, 2, 3)]


def content(folder: StudyDir) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.path.iterdir()}


def test_the_first_submission_freezes_every_cell(tiny: Study, tmp_path: Path) -> None:
    folder, frozen, num_new = freeze(tiny, tmp_path / "runs")
    assert (folder.path, frozen, num_new) == (tmp_path / "runs" / "tiny", tiny, 3)
    assert folder.read_study() == tiny


def test_the_same_again_changes_nothing(tiny: Study, tmp_path: Path) -> None:
    before = content(freeze(tiny, tmp_path)[0])
    folder, frozen, num_new = freeze(tiny, tmp_path)
    assert (frozen, num_new, content(folder)) == (tiny, 0, before)


def test_a_larger_grid_adds_its_cells(parts: list[Study], tmp_path: Path) -> None:
    freeze(parts[0], tmp_path)
    folder, frozen, num_new = freeze(parts[2], tmp_path)
    assert (folder.read_study(), frozen, num_new) == (parts[2], parts[2], 2)


def test_frozen_cells_stay_first(parts: list[Study], tmp_path: Path) -> None:
    freeze(parts[0], tmp_path)
    turned = parts[2].model_copy(update={"cells": tuple(reversed(parts[2].cells))})
    _, frozen, _ = freeze(turned, tmp_path)
    assert frozen.cells[0] == parts[0].cells[0]


def test_a_smaller_grid_is_a_conflict_and_changes_nothing(parts: list[Study], tmp_path: Path) -> None:
    before = content(freeze(parts[2], tmp_path)[0])
    with pytest.raises(ConflictError, match=r"seed: was \d, .*is gone"):
        freeze(parts[0], tmp_path)
    assert content(StudyDir(tmp_path / "tiny")) == before


def test_another_metric_is_a_conflict_that_names_both(tiny: Study, tmp_path: Path) -> None:
    before = content(freeze(tiny, tmp_path)[0])
    metrics = tiny.metrics.model_copy(update={"num_samples": 60})
    with pytest.raises(ConflictError, match="num_samples: was 50, is 60"):
        freeze(tiny.model_copy(update={"metrics": metrics}), tmp_path)
    assert content(StudyDir(tmp_path / "tiny")) == before


def test_a_damaged_study_is_not_overwritten(tiny: Study, tmp_path: Path) -> None:
    folder, _, _ = freeze(tiny, tmp_path)
    folder.manifest.write_text("hello")
    before = content(folder)
    with pytest.raises(CorruptFileError):
        freeze(tiny, tmp_path)
    assert content(folder) == before


def test_a_freeze_that_was_killed_before_the_header_is_repeated(tiny: Study, tmp_path: Path) -> None:
    folder, _, _ = freeze(tiny, tmp_path)
    folder.header.unlink()
    assert freeze(tiny, tmp_path)[2] == 3
    assert folder.read_study() == tiny


@pytest.mark.parametrize("umask", [0o002, 0o000])
def test_others_may_not_write_a_study_whatever_the_umask(tiny: Study, tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        folder, _, _ = freeze(tiny, tmp_path)
    finally:
        os.umask(before)
    everything = [folder.path, *folder.path.rglob("*")]
    assert [path for path in everything if path.stat().st_mode & 0o022] == []


def test_a_study_that_others_may_write_is_refused(tiny: Study, tmp_path: Path) -> None:
    folder, _, _ = freeze(tiny, tmp_path)
    folder.path.chmod(0o775)
    with pytest.raises(MachineError, match=r"mode 775(.|\n)*nllgen check .* --repair"):
        freeze(tiny, tmp_path)


@pytest.mark.parametrize("name", ["submitit", "code", "cells", "truths"])
def test_a_study_with_a_folder_that_others_may_write_is_refused(tiny: Study, tmp_path: Path, name: str) -> None:
    """Refuse it because pickles and code are executed, weights are loaded and leases are trusted."""
    folder, _, _ = freeze(tiny, tmp_path)
    (folder.path / name).mkdir()
    (folder.path / name).chmod(0o770)
    with pytest.raises(MachineError, match=rf"/{name} \(mode 770\)(.|\n)*nllgen check .* --repair"):
        folder.guard()


def test_a_parent_that_a_group_may_write_is_normal(tiny: Study, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o775)
    freeze(tiny, tmp_path / "shared")[0].guard()


def test_a_root_that_is_a_file(tiny: Study, tmp_path: Path) -> None:
    (tmp_path / "runs").write_bytes(b"mine")
    with pytest.raises(MachineError, match="a file stands where"):
        freeze(tiny, tmp_path / "runs")


def test_nothing_but_the_study_is_left_in_the_root(tiny: Study, tmp_path: Path) -> None:
    freeze(tiny, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_a_submission_waits_for_another_and_keeps_its_cells(parts: list[Study], tmp_path: Path) -> None:
    """Let another process add cells under the lock: this one must add to the result."""
    freeze(parts[0], tmp_path)
    other = LeaseManager().take(tmp_path / ".tiny.submitting")
    assert other is not None
    waiting = threading.Thread(target=freeze, args=(parts[2], tmp_path))
    waiting.start()
    StudyDir(tmp_path / "tiny").freeze(parts[1])
    other.release()
    waiting.join(20)
    assert StudyDir(tmp_path / "tiny").read_study() == parts[2]


def test_a_submission_does_not_wait_for_ever(tiny: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_PATIENCE_S", 0.1)
    LeaseManager().take(tmp_path / ".tiny.submitting")
    with pytest.raises(MachineError, match=r"somebody else is submitting(.|\n)*ends by itself.*\.tiny\.submitting"):
        freeze(tiny, tmp_path)


def test_a_submitter_that_died_elsewhere_is_waited_out(
    tiny: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wait until its lease expires, since its process cannot be checked."""
    assert lock._PATIENCE_S > LEASE_S
    monkeypatch.setattr(lock, "LeaseManager", partial(LeaseManager, lease_s=0.3))
    (tmp_path / ".tiny.submitting").write_text('{"host": "elsewhere", "process": "1:1"}')
    assert freeze(tiny, tmp_path)[0].is_frozen


def test_a_submission_that_takes_long_renews_its_lease(
    tiny: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "RENEW_S", 0.02)
    folder, _, _ = freeze(tiny, tmp_path)
    path = tmp_path / ".tiny.submitting"
    with lock.submission_lock(folder):
        os.utime(path, (5, 5))
        end = time.monotonic() + 20
        while path.stat().st_mtime == 5:
            assert time.monotonic() < end
            time.sleep(0.01)


def test_a_frozen_study_on_a_read_only_disk_can_be_submitted_again(tiny: Study, small_disk: Path) -> None:
    freeze(tiny, small_disk)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert freeze(tiny, small_disk)[2] == 0


def test_a_program_that_cannot_be_listed_whole_is_not_copied(
    tiny: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = freeze(tiny, tmp_path)[0]
    into, scandir = snapshot_folder(folder), os.scandir

    def failing(path: Path) -> Iterator[os.DirEntry[str]]:
        if str(path).endswith("/worker"):  # others are asked for by the number of an open folder
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr("nllgen.launch.code_snapshot.snapshot_folder", lambda study_dir: into)  # it reads the folders too
        patch.setattr(os, "scandir", failing)
        with pytest.raises(MachineError, match="cannot copy the program"):
            snapshot(folder)
    assert list(folder.code.iterdir()) == []
    assert (snapshot(folder) / "nllgen" / "worker" / "setup.py").exists()
