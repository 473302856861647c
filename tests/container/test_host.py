"""What a build takes from the machine that it runs on."""

from __future__ import annotations

from pathlib import Path

import pytest

from nllgen.container import host
from nllgen.errors import ContainerError, MachineError


@pytest.mark.parametrize("kind", ["nfs4", "lustre", "fuse.sshfs", "ceph", "beegfs"])
def test_network_file_systems_are_known(kind: str) -> None:
    assert host.is_network(kind)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "tmpfs", "overlay", "btrfs", ""])
def test_local_file_systems_are_not_network_ones(kind: str) -> None:
    assert not host.is_network(kind)


def test_the_file_system_of_a_folder_is_the_innermost_mount() -> None:
    assert host.file_system(Path("/proc/self")) == "proc"
    assert host.file_system(Path("/")) not in ("proc", "")


def test_temporary_files_stay_off_network_file_systems(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("APPTAINER_TMPDIR", str(tmp_path))
    monkeypatch.setattr(host, "NEEDED_GB", 0)
    assert host.temporary_parent() == tmp_path
    monkeypatch.setattr(host, "file_system", lambda path: "nfs4")
    with pytest.raises(ContainerError, match=r"(?s)network file system \(nfs4\).*APPTAINER_TMPDIR"):
        host.temporary_parent()


def test_a_disk_without_enough_space_is_refused_before_the_build(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("APPTAINER_TMPDIR", str(tmp_path))
    monkeypatch.setattr(host, "NEEDED_GB", 10**9)
    with pytest.raises(ContainerError, match="GB free, a build needs"):
        host.temporary_parent()


def test_variables_of_the_caller_do_not_change_a_build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (
        "APPTAINER_BIND",
        "APPTAINER_BINDPATH",
        "APPTAINERENV_PYTHONPATH",
        "SINGULARITYENV_A",
        "SINGULARITY_BIND",
    ):
        monkeypatch.setenv(name, "/x")
    monkeypatch.setenv("APPTAINER_CACHEDIR", "/cache")
    found = host.build_environment(tmp_path)
    assert not [name for name in found if name.startswith(("APPTAINER_BIND", "APPTAINERENV", "SINGULARITY"))]
    assert found["APPTAINER_CACHEDIR"] == "/cache"
    assert found["APPTAINER_TMPDIR"] == str(tmp_path)
    assert found["SOURCE_DATE_EPOCH"].isdigit()


def test_a_missing_program_is_named() -> None:
    host.require_programs(["sh"])
    with pytest.raises(MachineError, match="nllgen-no-such-program is needed"):
        host.require_programs(["sh", "nllgen-no-such-program"])
