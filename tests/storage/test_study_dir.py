from __future__ import annotations

import errno
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from nllgen.errors import ConfigError, CorruptFileError, MachineError, SchemaError
from nllgen.storage.study_dir import StudyDir, studies
from nllgen.study.config import Study
from nllgen.study.metric_groups import METRIC_GROUPS
from tests.faults.injected import failing_at
from tests.users import as_root


@pytest.fixture
def study(make_study: Callable[..., Study]) -> Any:
    return make_study(3)


@pytest.fixture
def folder(tmp_path: Path, study: Study) -> Any:
    folder = StudyDir(tmp_path / "small")
    folder.freeze(study)
    return folder


def test_what_is_read_is_what_was_frozen(folder: StudyDir, study: Study) -> None:
    assert folder.read_study() == study


def test_freezing_leaves_two_files(folder: StudyDir) -> None:
    assert sorted(path.name for path in folder.path.iterdir()) == ["manifest.jsonl", "study.yaml"]


def test_ten_thousand_cells_freeze_and_read_in_seconds(tmp_path: Path, make_study: Callable[..., Study]) -> None:
    study, folder = make_study(10_000), StudyDir(tmp_path / "large")
    started = time.process_time()
    folder.freeze(study)
    assert folder.read_study() == study
    assert time.process_time() - started < 10  # 1 to 3 s; what grows with the square of cells takes minutes


@pytest.mark.parametrize(
    ("old", "new"),
    [('"seed": 1', '"seed": 7'), ('"width": 2', '"width": 3'), ("}\n", "\n"), ('{"id"', '["id"'), ('"cell"', '"sell"')],
)
def test_an_edited_manifest_is_refused(folder: StudyDir, old: Any, new: Any) -> None:
    text = folder.manifest.read_text()
    assert old in text
    folder.manifest.write_text(text.replace(old, new))
    with pytest.raises(CorruptFileError, match="damaged or was edited"):
        folder.read_study()


def test_a_manifest_that_lost_a_line_is_refused(folder: StudyDir) -> None:
    folder.manifest.write_text("".join(folder.manifest.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(CorruptFileError, match="counts 3 cells"):
        folder.read_study()


def test_a_growth_killed_before_its_header_was_written_has_not_happened(folder: StudyDir) -> None:
    study, text = folder.read_study(), folder.manifest.read_text()
    folder.manifest.write_text(text + text.splitlines(keepends=True)[0])
    assert folder.read_study() == study


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"- a\n- b\n", b"{", b"a: *b"])
def test_a_damaged_header_is_refused(folder: StudyDir, content: Any) -> None:
    folder.header.write_bytes(content)
    with pytest.raises((CorruptFileError, SchemaError), match="small"):
        folder.read_study()


def test_a_newer_schema_is_refused(folder: StudyDir) -> None:
    head = yaml.safe_load(folder.header.read_text())
    folder.header.write_text(yaml.safe_dump(head | {"schema": 99, "novelty": 1}))
    with pytest.raises(SchemaError, match="schema 99"):
        folder.read_study()


@pytest.mark.parametrize("missing", ["study.yaml", "manifest.jsonl"])
def test_half_a_study_is_none(folder: StudyDir, missing: Any) -> None:
    (folder.path / missing).unlink()
    with pytest.raises(ConfigError, match="not a study folder"):
        folder.read_study()


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777, 0o1777])
def test_a_folder_that_others_may_write_is_refused(folder: StudyDir, study: Study, mode: Any) -> None:
    folder.path.chmod(mode)
    with pytest.raises(MachineError, match=r"mode \d+(.|\n)*nllgen check .* --repair"):
        folder.freeze(study)


def test_a_file_where_the_folder_should_be(tmp_path: Path, study: Study) -> None:
    (tmp_path / "small").write_bytes(b"mine")
    with pytest.raises(MachineError, match="a file stands where"):
        StudyDir(tmp_path / "small").freeze(study)
    assert (tmp_path / "small").read_bytes() == b"mine"


def test_guarding_a_file_says_that_it_is_one(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"mine")
    with pytest.raises(MachineError, match="is a file"):
        StudyDir(tmp_path / "small").guard()


def test_a_disk_that_is_full_while_a_study_grows_leaves_it_as_it_was(
    mount: Callable[..., Path], make_study: Callable[..., Study]
) -> None:
    folder = StudyDir(mount("size=64k") / "small")
    folder.freeze(make_study(3))
    (folder.path.parent / "filler").write_bytes(bytes(64 * 1024 - 3 * 4096))  # space for the manifest, not the header
    with pytest.raises(MachineError, match="the disk is full"):
        folder.freeze(make_study(8))
    assert folder.read_study() == make_study(3)


def test_a_study_on_a_read_only_disk_can_be_read(mount: Callable[..., Path], make_study: Callable[..., Study]) -> None:
    folder = StudyDir(mount("size=64k") / "small")
    folder.freeze(make_study(3))
    subprocess.run(["mount", "-o", "remount,ro", str(folder.path.parent)], check=True)
    assert folder.read_study() == make_study(3)
    with pytest.raises(MachineError, match="read-only"):
        folder.freeze(make_study(4))


def test_studies_are_found_below_a_root(folder: StudyDir, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    assert [study.path.name for study in studies(tmp_path)] == ["small"]


def test_checkpoints_come_newest_first(folder: StudyDir, study: Study) -> None:
    task = folder.cell(study.cells[0].id)
    task.path.mkdir(parents=True)
    for when, name in enumerate(("b", "c", "a")):
        task.checkpoint(name).touch()
        os.utime(task.checkpoint(name), (when, when))
    assert [path.name for path in task.checkpoints()] == ["checkpoint.a.pt", "checkpoint.c.pt", "checkpoint.b.pt"]


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO])
def test_a_directory_that_cannot_be_listed_now_is_not_taken_for_empty(
    folder: StudyDir, study: Study, code: int
) -> None:
    """Once, a run without the permission to list its checkpoints began at step 0."""
    task = folder.cell(study.cells[0].id)
    task.path.mkdir(parents=True)
    task.checkpoint("a").touch()
    for list_files in (task.checkpoints, task.all_extra_metrics):
        with failing_at(1, task.path, code), pytest.raises(MachineError, match="cannot read"):
            list_files()
    assert task.checkpoints()


def test_copies_that_other_programs_make_of_extra_metrics_are_ignored(folder: StudyDir, study: Study) -> None:
    task = folder.cell(study.cells[0].id)
    task.path.mkdir(parents=True)
    own = [task.extra_metrics(group) for group in sorted(METRIC_GROUPS)]
    others = ("kid 2", "kid (1)", "kid.sync-conflict-20261201-101010-ABCDEFG", "kid-node3", "")
    for path in (*own, *(task.extra_metrics(name) for name in others)):
        path.touch()
    assert task.all_extra_metrics() == own


def test_clearing_up_leaves_results_logs_and_leases(folder: StudyDir, study: Study) -> None:
    task = folder.cell(study.cells[0].id)
    task.path.mkdir(parents=True)
    own, other = task.model("a" * 64), task.model("b" * 64)
    kept = ["result.h5", own.name, "model.mine.pt", "model 2.pt", "log.txt", "lease", "attempts.jsonl"]
    for name in [*kept, "checkpoint.1-x.pt", "checkpoint.1-x.pt.f.part", "result.h5.1-x.part", other.name]:
        (Path(task.path) / name).touch()
    directory = task.model("c" * 64)
    directory.mkdir()
    task.remove_leftovers(own)
    assert sorted(path.name for path in task.path.iterdir()) == sorted([*kept, directory.name])


@as_root
def test_another_users_study_folder_is_refused(folder: StudyDir) -> None:
    os.chown(folder.path, 65534, 65534)
    with pytest.raises(MachineError, match="another user's"):
        folder.guard()
