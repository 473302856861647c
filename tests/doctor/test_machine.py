"""The doctor's probes: commands that hang, a machine without Slurm, folders that lack something."""

from __future__ import annotations

import errno
import fcntl
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nllgen.doctor import examine
from nllgen.doctor import filesystem as folder_probe
from nllgen.doctor.machine import judge_folder
from nllgen.doctor.probe import Finding, ask
from nllgen.launch.slurm.cluster_info import ClusterInfo

# ---- asking


def program(folder: Path, name: str, script: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    path = program(tmp_path, "wrapper", f"sleep 600 & echo $! > {tmp_path}/child; wait")
    begun = time.monotonic()
    answer = ask([str(path)], 1.0)
    assert time.monotonic() - begun < 30
    assert "did not answer in 1 s" in answer.error
    child = Path(f"/proc/{(tmp_path / 'child').read_text().strip()}/stat")
    while child.exists() and child.read_text().split()[2] != "Z":  # killed, and about to die
        assert time.monotonic() - begun < 30
        time.sleep(0.05)


def test_a_command_that_fails_says_its_last_line(tmp_path: Path) -> None:
    path = program(tmp_path, "sacct", "echo one >&2; echo storage is disabled >&2; exit 1")
    assert ask([str(path)]).error == f"{path} failed: storage is disabled"


def test_a_machine_without_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    report = examine(tmp_path)
    assert report.exit_code == 3
    assert next(finding for finding in report.findings if finding.name == "version").value == "no Slurm here"
    assert json.loads(json.dumps(report.to_json()))["can_submit"] is False
    assert not any(tmp_path.iterdir())


# ---- folders


def finding_of(folder: Path, name: str) -> Finding:
    (finding,) = [one for one in judge_folder(folder_probe.probe(folder), ClusterInfo()) if one.name == name]
    return finding


def test_a_good_folder_is_good_and_left_as_it_was(tmp_path: Path) -> None:
    seen = folder_probe.probe(tmp_path / "not" / "there")
    assert seen["path"] == str(tmp_path)
    assert not any(tmp_path.iterdir())
    found = list(judge_folder(seen, ClusterInfo()))
    assert not any(finding.level == "problem" for finding in found)
    assert {"exclusive creation", "hard links", "atomic rename", "fsync", "flock", "clock"} <= {f.name for f in found}


def test_a_file_system_is_named(mount: Callable[..., Path]) -> None:
    assert folder_probe.file_system(mount("size=64k")) == "tmpfs"


def test_a_folder_that_cannot_be_written_stops_submission(mount: Callable[..., Path]) -> None:
    (finding,) = judge_folder(folder_probe.probe(mount("ro,size=64k")), ClusterInfo())
    assert finding.stops_submission
    assert "Read-only" in finding.means


def test_a_full_disk_is_told_and_does_not_end_the_doctor(mount: Callable[..., Path]) -> None:
    folder = mount("size=64k")
    (folder / "filler").write_bytes(bytes(60_000))
    seen = folder_probe.probe(folder)
    assert "No space" in seen["fsync"] or "No space" in seen.get("error", "") or "No space" in seen["links"]


def test_a_folder_without_locks_is_worth_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Lustre without -o flock: every lock fails with errno 38."""

    def raise_os_error(fd: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", raise_os_error)
    monkeypatch.delenv("HDF5_USE_FILE_LOCKING", raising=False)
    (finding,) = [
        finding for finding in judge_folder(folder_probe.probe(tmp_path), ClusterInfo()) if finding.name == "flock"
    ]
    assert (finding.level, finding.value) == ("note", "fails: Function not implemented")
    monkeypatch.setenv("HDF5_USE_FILE_LOCKING", "TRUE")
    (finding,) = [
        finding for finding in judge_folder(folder_probe.probe(tmp_path), ClusterInfo()) if finding.name == "flock"
    ]
    assert finding.stops_submission


def test_a_local_disk_is_doubted_where_nodes_are_other_machines(tmp_path: Path) -> None:
    seen = folder_probe.probe(tmp_path) | {"kind": "ext4", "network": False}
    assert "shared" in {finding.name for finding in judge_folder(seen, ClusterInfo(hosts=frozenset({"c001"})))}
    assert "shared" not in {
        finding.name for finding in judge_folder(seen | {"network": True}, ClusterInfo(hosts=frozenset({"c001"})))
    }


def test_the_clock_of_a_folder(tmp_path: Path) -> None:
    skew, unit = folder_probe.clock(tmp_path)
    assert abs(skew) < 1
    assert unit < 1


@pytest.mark.parametrize(("mode", "level"), [(0o755, "ok"), (0o1777, "ok"), (0o775, "note")])
def test_a_folder_that_others_may_write(tmp_path: Path, mode: int, level: str) -> None:
    tmp_path.chmod(mode)
    (finding,) = [
        finding for finding in judge_folder(folder_probe.probe(tmp_path), ClusterInfo()) if finding.name == "owner"
    ]
    assert finding.level == level


def test_a_closed_folder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def raise_os_error(path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", raise_os_error)  # root, who runs the tests, may look everywhere
    (finding,) = judge_folder(folder_probe.probe(tmp_path / "closed"), ClusterInfo())
    assert finding.stops_submission
    assert "Permission denied" in finding.means
