"""Files of arrays that were made elsewhere: damaged ones, and ones that declare more than they hold."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from nllgen.errors import CorruptFileError
from nllgen.storage import external
from tests.arrays import npz


class Boom:
    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return (Path("/tmp/nllgen-boom").touch, ())


def broken(tmp_path: Path, how: str) -> Path:
    path = tmp_path / "mine"
    if how == "text":
        path.write_text("log_prob\n1\n2\n")
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "pickle":
        np.savez(path.with_suffix(".npz"), log_prob=np.array([Boom()], dtype=object))
        return path.with_suffix(".npz")
    elif how == "cut npz":
        path.write_bytes(npz(tmp_path, log_prob=np.zeros(400)).read_bytes()[:900])
    elif how == "no such array":
        return npz(tmp_path, other=np.zeros(400))
    elif how == "two axes":
        return npz(tmp_path, log_prob=np.zeros((400, 1)))
    elif how == "texts":
        return npz(tmp_path, log_prob=np.array(["1"] * 400))
    elif how == "cut hdf5":
        with h5py.File(path, "w") as file:
            file["log_prob"] = np.zeros(50_000)
        path.write_bytes(path.read_bytes()[:5_000])
    elif how == "link":
        with h5py.File(path, "w") as file:
            file["log_prob"] = h5py.ExternalLink("/etc/passwd", "x")
    return path


@pytest.mark.parametrize(
    "how", ["text", "empty", "pickle", "cut npz", "no such array", "two axes", "texts", "cut hdf5", "link", "absent"]
)
def test_a_file_that_is_not_one_is_a_typed_error(tmp_path: Path, how: str) -> None:
    with pytest.raises(CorruptFileError):
        external.read_array(broken(tmp_path, how), ("log_prob",), 1)
    assert not Path("/tmp/nllgen-boom").exists()


def test_an_array_that_claims_more_than_it_holds_is_not_allocated(tmp_path: Path) -> None:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000,), }"
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with zipfile.ZipFile(tmp_path / "big.npz", "w") as archive:
        archive.writestr("log_prob.npy", data)
    with pytest.raises(CorruptFileError, match="more than it can hold"):
        external.read_array(tmp_path / "big.npz", ("log_prob",), 1)


def test_an_array_beyond_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external, "FREE_BYTES", 100)
    np.savez_compressed(tmp_path / "mine.npz", log_prob=np.zeros(10_000))
    with pytest.raises(CorruptFileError, match=r"80000 bytes, more than \d+"):
        external.read_array(tmp_path / "mine.npz", ("log_prob",), 1)
    with h5py.File(tmp_path / "mine.h5", "w") as file:
        file.create_dataset("log_prob", data=np.zeros(100_000), compression="gzip")
    with pytest.raises(CorruptFileError, match="many times the size"):
        external.read_array(tmp_path / "mine.h5", ("log_prob",), 1)
