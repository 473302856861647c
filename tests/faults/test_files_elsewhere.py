"""Links to files that are waited for, and arrays made elsewhere that expand: refused in two seconds and one GiB."""

from __future__ import annotations

import errno
import io
import os
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from nllgen.errors import MachineError
from nllgen.storage.convert import read_any_study
from nllgen.storage.dataset import read_dataset, read_dataset_head
from nllgen.storage.external import read_array
from nllgen.storage.result import read_result
from tests.faults.bounded import Edit, edited, refused, zeros

pytestmark = pytest.mark.timeout(120)


# what another file would have to be opened for


def to_a_pipe(tmp_path: Path) -> str:
    pipe = tmp_path / "pipe"
    if not pipe.exists():
        os.mkfifo(pipe)
    return str(pipe)


def soft_to_external(name: str, pipe: str) -> Edit:
    def edit(file: h5py.File) -> None:
        file.pop(name, None)
        file["away"] = h5py.ExternalLink(pipe, "/x")
        file["nearer"] = h5py.SoftLink("/away")
        file[name] = h5py.SoftLink("/nearer")

    return edit


def virtual(name: str, pipe: str, shape: tuple[int, ...]) -> Edit:
    """Replace a dataset by a virtual one without limits, for whose shape HDF5 opens its source."""

    def edit(file: h5py.File) -> None:
        file.pop(name, None)
        layout = h5py.VirtualLayout(shape, "f4", maxshape=(None, *shape[1:]))
        source = h5py.VirtualSource(pipe, "x", shape, "f4", maxshape=(None, *shape[1:]))
        layout[0 : h5py.h5s.UNLIMITED] = source[0 : h5py.h5s.UNLIMITED]
        file.create_virtual_dataset(name, layout)

    return edit


def raw_elsewhere(name: str, pipe: str) -> Edit:
    def edit(file: h5py.File) -> None:
        file.pop(name, None)
        file.create_dataset(name, (1, 1, 7, 7), "f4", external=[(pipe, 0, 196)])

    return edit


@pytest.mark.parametrize("how", ["soft link", "virtual", "raw data"])
def test_no_file_of_nllgen_leads_to_another(result: Path, dataset: Path, study: Path, tmp_path: Path, how: str) -> None:
    pipe = to_a_pipe(tmp_path)

    def edit(name: str) -> Edit:
        if how == "soft link":
            return soft_to_external(name, pipe)
        return virtual(name, pipe, (1, 1, 7, 7)) if how == "virtual" else raw_elsewhere(name, pipe)

    edited(result, edit("samples/x"))
    edited(study, edit("samples/x"))
    edited(dataset, edit("test/x"))
    refused(lambda: read_result(result))
    refused(lambda: read_any_study(study))
    refused(lambda: read_dataset(dataset))
    refused(lambda: read_dataset_head(dataset))


@pytest.mark.parametrize("how", ["soft link", "virtual", "raw data", "a group of links"])
def test_no_array_made_elsewhere_leads_to_another_file(tmp_path: Path, how: str) -> None:
    pipe, path = to_a_pipe(tmp_path), tmp_path / "mine.h5"
    with h5py.File(path, "w") as file:
        if how == "soft link":
            soft_to_external("x", pipe)(file)
        elif how == "virtual":
            virtual("x", pipe, (1, 1, 7, 7))(file)
        elif how == "raw data":
            raw_elsewhere("x", pipe)(file)
        else:
            file["samples"] = h5py.ExternalLink(pipe, "/")
    refused(lambda: read_array(path, ("x", "samples/x"), 4))


def test_a_pipe_is_no_array(tmp_path: Path) -> None:
    link = tmp_path / "mine.npz"
    link.symlink_to(to_a_pipe(tmp_path))
    refused(lambda: read_array(link, ("x",), 4), "is not a regular file")
    refused(lambda: read_array(Path("/dev/zero"), ("x",), 4), "is not a regular file")


# arrays made elsewhere


def test_compressed_arrays_that_expand_are_refused(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("x.npy", "w", force_zip64=True) as member,
    ):
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": "<f4", "fortran_order": False, "shape": (2**18, 1, 32, 32)}
        )
        member.write(header.getvalue())
        for _ in range(16):
            member.write(bytes(2**26))
    refused(lambda: read_array(tmp_path / "x.npz", ("x",), 4), "more than")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        zeros("x", 0, shape=(2**10, 1, 512, 512))(file)
    refused(lambda: read_array(tmp_path / "x.h5", ("x",), 4), "expand")


@pytest.mark.parametrize("name", ["x.npz", "x.h5"])
def test_an_array_that_cannot_be_read_now_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("nllgen.storage.external._from_npz", refuse)
    monkeypatch.setattr("nllgen.storage.external._from_hdf5", refuse)
    (tmp_path / name).write_bytes(b"PK" if name == "x.npz" else b"HDF")
    with pytest.raises(MachineError, match="Input/output error"):
        read_array(tmp_path / name, ("x",), 4)


def test_a_header_of_an_array_is_not_read_without_end(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("x.npy", "w", force_zip64=True) as member,
    ):
        member.write(b"\x93NUMPY\x02\x00" + (2**31).to_bytes(4, "little"))
        for _ in range(20):
            member.write(b" " * 2**26)
    refused(lambda: read_array(tmp_path / "x.npz", ("x",), 4))


def test_sixty_thousand_equal_samples_are_read(tmp_path: Path) -> None:
    """The most compressible file that a user may have: images of a collapsed model, in double precision."""
    image = np.linspace(0, 1, 784).reshape(1, 1, 28, 28)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=np.repeat(image, 60_000, 0), compression="gzip", chunks=(1000, 1, 28, 28))
    read = read_array(tmp_path / "x.h5", ("x",), 4)
    assert read.shape == (60_000, 1, 28, 28)
    assert (read[-1] == image[0]).all()
