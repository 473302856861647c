"""The doctor with programs that hang, without Slurm, and on directories that lack something."""

from __future__ import annotations

import errno
import fcntl
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nllgen.container.host import file_system
from nllgen.doctor import examine
from nllgen.doctor.directory import judge_directory
from nllgen.doctor.filesystem import measure_clock, try_directory
from nllgen.doctor.probe import Finding, ask
from nllgen.launch.slurm.cluster_info import ClusterInfo

# ---- programs


def program(directory: Path, name: str, script: str) -> Path:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_a_program_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    path = program(tmp_path, "wrapper", f"sleep 600 & echo $! > {tmp_path}/child; wait")
    begun = time.monotonic()
    answer = ask([str(path)], 1.0)
    assert time.monotonic() - begun < 30
    assert "did not answer in 1 s" in answer.error
    child = Path(f"/proc/{(tmp_path / 'child').read_text().strip()}/stat")
    while child.exists() and child.read_text().split()[2] != "Z":  # killed, and about to die
        assert time.monotonic() - begun < 30
        time.sleep(0.05)


def test_the_error_of_a_program_is_its_last_line(tmp_path: Path) -> None:
    path = program(tmp_path, "sacct", "echo one >&2; echo storage is disabled >&2; exit 1")
    assert ask([str(path)]).error == f"{path} failed: storage is disabled"


def test_a_machine_without_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    report = examine(tmp_path)
    assert report.exit_code == 3
    assert next(finding for finding in report.findings if finding.name == "version").value == "no Slurm here"
    assert json.loads(json.dumps(report.to_json()))["can_submit"] is False
    assert not any(tmp_path.iterdir())


# ---- directories


def finding_of(directory: Path, name: str) -> Finding:
    (finding,) = [one for one in judge_directory(try_directory(directory), ClusterInfo()) if one.name == name]
    return finding


def test_a_good_directory_is_left_as_it_was(tmp_path: Path) -> None:
    state = try_directory(tmp_path / "not" / "there")
    assert state.path == str(tmp_path)
    assert not any(tmp_path.iterdir())
    findings = list(judge_directory(state, ClusterInfo()))
    assert not any(finding.level == "problem" for finding in findings)
    names = {finding.name for finding in findings}
    assert {"exclusive creation", "hard links", "atomic rename", "fsync", "flock", "clock"} <= names


def test_the_type_of_a_file_system(mount: Callable[..., Path]) -> None:
    assert file_system(mount("size=64k")) == "tmpfs"


def test_a_directory_that_cannot_be_written_stops_submission(mount: Callable[..., Path]) -> None:
    (finding,) = judge_directory(try_directory(mount("ro,size=64k")), ClusterInfo())
    assert finding.stops_submission
    assert "Read-only" in finding.means


def test_a_full_disk_is_reported_and_does_not_end_the_doctor(mount: Callable[..., Path]) -> None:
    directory = mount("size=64k")
    (directory / "filler").write_bytes(bytes(60_000))
    state = try_directory(directory)
    assert "No space" in state.error + state.failures.get("fsync", "") + state.failures.get("links", "")


def test_a_directory_without_locks_is_worth_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Lustre without -o flock: every lock fails with errno 38."""

    def raise_os_error(fd: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", raise_os_error)
    monkeypatch.delenv("HDF5_USE_FILE_LOCKING", raising=False)
    finding = finding_of(tmp_path, "flock")
    assert (finding.level, finding.value) == ("note", "fails: Function not implemented")
    monkeypatch.setenv("HDF5_USE_FILE_LOCKING", "TRUE")
    assert finding_of(tmp_path, "flock").stops_submission


@pytest.mark.parametrize("is_network", [True, False])
def test_a_local_disk_is_doubted_where_nodes_are_other_machines(tmp_path: Path, is_network: bool) -> None:
    state = replace(try_directory(tmp_path), file_system="ext4", is_network=is_network)
    findings = judge_directory(state, ClusterInfo(hosts=frozenset({"c001"})))
    assert ("shared" in {finding.name for finding in findings}) is not is_network


def test_the_clock_of_a_file_system(tmp_path: Path) -> None:
    skew_s, unit_s = measure_clock(tmp_path)
    assert abs(skew_s) < 1
    assert unit_s < 1


@pytest.mark.parametrize(("mode", "level"), [(0o755, "ok"), (0o1777, "ok"), (0o775, "note")])
def test_a_directory_that_others_may_write(tmp_path: Path, mode: int, level: str) -> None:
    tmp_path.chmod(mode)
    assert finding_of(tmp_path, "owner").level == level


def test_a_directory_that_may_not_be_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def raise_os_error(path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", raise_os_error)  # root, who runs the tests, may enter everything
    (finding,) = judge_directory(try_directory(tmp_path / "closed"), ClusterInfo())
    assert finding.stops_submission
    assert "Permission denied" in finding.means
