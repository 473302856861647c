"""Wheels of nllgen: from a checkout, from an installation, and from a file."""

from __future__ import annotations

import base64
import csv
import hashlib
import os
import shutil
import zipfile
from importlib.metadata import Distribution
from pathlib import Path

import pytest

from nllgen.container import package, wheels
from nllgen.container.package import find_source
from nllgen.errors import ContainerError

CHECKOUT = Path(__file__).resolve().parents[2]


def test_a_wheel_of_the_checkout_has_the_same_bytes_again(tmp_path: Path) -> None:
    """Its digest is in the bill of materials; times, the umask and the checkout's modes are not."""
    copy = tmp_path / "checkout"
    for name in package._SHIPPED:
        source = CHECKOUT / name
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, copy / name) if source.is_dir() else shutil.copy(source, copy / name)
    digests = []
    for mode, umask in ((0o664, 0o002), (0o644, 0o077)):
        for path in copy.rglob("*.*"):
            path.chmod(mode)
            os.utime(path, (mode, mode))
        out = tmp_path / str(mode)
        out.mkdir()
        before = os.umask(umask)
        try:
            digests.append(hashlib.sha256(package._checkout(copy).write(out).read_bytes()).hexdigest())
        finally:
            os.umask(before)
        assert [path.suffix for path in out.iterdir()] == [".whl"]
    assert digests[0] == digests[1]


def test_requirements_are_read_from_a_wheel(tmp_path: Path) -> None:
    needs = 'Requires-Dist: triton==3.7.1; platform_system == "Linux"\nRequires-Dist: Foo_Bar>=1\n'
    needs += 'Requires-Dist: opt; extra == "x"\n'
    with zipfile.ZipFile(tmp_path / "torch.whl", "w") as archive:
        archive.writestr(
            "torch-2.dist-info/METADATA", f"Metadata-Version: 2.1\nName: torch\n{needs}\nRequires-Dist: in-text\n"
        )
    assert wheels.needed_of(tmp_path / "torch.whl") == {"triton", "foo-bar"}


def test_a_package_that_pip_cannot_find_is_named(tmp_path: Path) -> None:
    (tmp_path / wheels.LOCK).write_text("nllgen-no-such-package==9.9 \\\n    --hash=sha256:" + "0" * 64 + "\n")
    offline = [*wheels.host_pip(), "--isolated"]
    with pytest.raises(ContainerError, match=r"(?s)cannot fetch.*nllgen-no-such-package"):
        wheels._download([*offline], tmp_path / wheels.LOCK, tmp_path / "wheels")


def test_a_changed_file_changes_the_digest(tmp_path: Path) -> None:
    for name in ("setup.py", "nllgen/a.py", "jobs/x.yaml", "tests/test_a.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    before = package._checkout(tmp_path)
    (tmp_path / "tests" / "test_a.py").write_text("2")
    assert package._checkout(tmp_path).digest == before.digest
    (tmp_path / "jobs" / "x.yaml").write_text("2")
    assert package._checkout(tmp_path).digest != before.digest
    with pytest.raises(ContainerError, match="changed while"):
        before.write(tmp_path / "out")


def test_files_that_are_no_wheel_of_nllgen_are_refused(tmp_path: Path) -> None:
    for name in ("nllgen-0.1.0-py3-none-any.whl", "other-1-py3-none-any.whl", "nllgen.txt"):
        (tmp_path / name).write_text("hello")
        with pytest.raises(ContainerError, match="not a wheel of nllgen"):
            find_source(tmp_path / name)
    with pytest.raises(ContainerError, match="not a wheel of nllgen"):
        find_source(tmp_path / "missing.whl")


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """site-packages as pip leaves it."""
    info = tmp_path / "nllgen-0.1.0.dist-info"
    files = {
        tmp_path / "nllgen" / "__init__.py": "",
        tmp_path / "nllgen" / "share" / "containers" / "nllgen.def": "x",
        info / "METADATA": "Metadata-Version: 2.1\nName: nllgen\nVersion: 0.1.0\n",
        info / "WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n",
        info / "INSTALLER": "pip\n",
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    names = [*(str(path.relative_to(tmp_path)) for path in files), "../../../bin/nllgen", "nllgen/__pycache__/a.pyc"]
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in [*names, "nllgen-0.1.0.dist-info/RECORD"]))
    return info


def test_an_installed_distribution_is_packed_again(installed: Path, tmp_path: Path) -> None:
    found = package._installed(Distribution.at(installed))
    path = found.write(tmp_path)
    archive = zipfile.ZipFile(path)
    assert path.name == "nllgen-0.1.0-py3-none-any.whl"
    record = {row[0]: row[1] for row in csv.reader(archive.read("nllgen-0.1.0.dist-info/RECORD").decode().splitlines())}
    assert set(record) == set(archive.namelist())
    assert "nllgen/share/containers/nllgen.def" in record
    assert not any("INSTALLER" in name or "bin" in name or "pyc" in name for name in record)
    digest = base64.urlsafe_b64encode(hashlib.sha256(b"x").digest()).rstrip(b"=").decode()
    assert record["nllgen/share/containers/nllgen.def"] == f"sha256={digest}"


def test_an_installation_with_holes_is_refused(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "nllgen" / "__init__.py").unlink()
    with pytest.raises(ContainerError, match=r"not whole: nllgen/__init__\.py"):
        package._installed(Distribution.at(installed))
