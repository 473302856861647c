"""Small files that expand to gigabytes, and links to files that are waited for: refused in two seconds and one GiB."""

from __future__ import annotations

import io
import json
import os
import re
import resource
import signal
import time
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from benchmarks.dummy_worker import small_result
from nllgen.errors import NllgenError
from nllgen.launch.freeze import freeze
from nllgen.launch.slurm.arrays import SubmissionDir
from nllgen.launch.tasks import read_attempts
from nllgen.storage.checksum import SIZE, checksum_header
from nllgen.storage.convert import read_any_study
from nllgen.storage.dataset import NUMBERS, Dataset, read_dataset, read_dataset_head, write_dataset
from nllgen.storage.external import read_array
from nllgen.storage.result import read_attrs, read_result, write_result
from nllgen.storage.schema import CELL_NUMBER_COLUMNS, CELL_TEXT_COLUMNS, SPLITS
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.study_file import LONG_TABLES, StudyFile, write_study
from nllgen.storage.tasks import tasks_of
from nllgen.study.load import parse_study
from tests.faults.texts import GRID

pytestmark = pytest.mark.timeout(120)
BYTES, SECONDS = 2**30, 2.0
Edit = Callable[[h5py.File], None]


def outcome(read: Callable[[], object]) -> str:
    """Return ``valid`` or the error of a read in a child with limited memory and time; fail where it exceeds them."""
    receiving, sending = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(30)
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + BYTES, mapped + BYTES))
        began = time.process_time()
        try:
            read()
            text = "valid"
        except NllgenError as error:
            text = f"{type(error).__name__}: {error}"
        except BaseException as error:
            text = f"unexpected {type(error).__name__}: {error}"
        seconds = time.process_time() - began
        os.write(sending, json.dumps([text[:2000], seconds]).encode())
        os._exit(0)
    os.close(sending)
    with os.fdopen(receiving, "rb") as pipe:
        content = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert content, f"ended by status {status}"
    text, seconds = json.loads(content)
    assert seconds < SECONDS, text
    return str(text)


def refused(read: Callable[[], object], *words: str) -> None:
    text = outcome(read)
    assert text.startswith("CorruptFileError"), text
    assert all(word in text for word in words), text


def edited(path: Path, edit: Edit) -> Path:
    """Edit a file by hand and give it a valid checksum."""
    with h5py.File(path, "r+") as file:
        edit(file)
    content = path.read_bytes()
    head = content[80:SIZE].strip(b"\n\0").decode(errors="replace")
    path.write_bytes(bytes(checksum_header(content[SIZE:], head)) + content[SIZE:])
    return path


@pytest.fixture
def result(tmp_path: Path) -> Path:
    cell = parse_study(GRID, "g.yaml", precision="fp32").cells[0]
    write_result(tmp_path / "result.h5", small_result(cell), "a", lambda: None)
    return tmp_path / "result.h5"


def study_of(num_cells: int) -> StudyFile:
    study = parse_study(GRID, "g.yaml", precision="fp32")
    cells: dict[str, Any] = {name: np.array(["x"] * num_cells, object) for name in CELL_TEXT_COLUMNS}
    cells["config"] = np.array([study.cells[0].model_dump_json()] * num_cells, object)
    cells["outcome"] = np.array(["done"] * num_cells, object)
    cells |= {name: np.ones(num_cells) for name in CELL_NUMBER_COLUMNS}
    of_one = small_result(study.cells[0])
    tables = {}
    for name in LONG_TABLES:
        table = getattr(of_one, name)
        rows = len(table["step"])
        tables[name] = {"cell": np.repeat(np.arange(num_cells), rows)}
        tables[name] |= {column: np.tile(data, num_cells) for column, data in table.items()}
    images = np.zeros((num_cells, 1, 28, 28), np.float32)
    return StudyFile(
        name="many", study={"name": "many"}, cells=cells, samples=images, samples_cell=np.arange(num_cells),
        reference={"mnist": images[:4]}, datasets={}, sources=("s" * 64,) * num_cells, **tables,
    )  # fmt: skip


@pytest.fixture
def study(tmp_path: Path) -> Path:
    write_study(tmp_path / "study.h5", study_of(2))
    return tmp_path / "study.h5"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    x = {split: np.zeros((4, 1, 7, 7), np.float32) for split in SPLITS}
    log_prob = dict.fromkeys(SPLITS, np.linspace(-9, -1, 4))
    write_dataset(tmp_path / "dataset.h5", Dataset("t", "s", x, log_prob, dict.fromkeys(NUMBERS, 0.5)))
    return tmp_path / "dataset.h5"


def zeros(name: str, num_bytes: int, dtype: Any = "f4", shape: tuple[int, ...] = ()) -> Edit:
    """Replace a dataset by zeros that take a thousandth of their size."""

    def edit(file: h5py.File) -> None:
        file.pop(name, None)
        of_shape = shape or (num_bytes // np.dtype(dtype).itemsize,)
        chunk = (min(of_shape[0], max(1, 2**24 // max(1, int(np.prod(of_shape[1:])) * np.dtype(dtype).itemsize))),)
        made = file.create_dataset(
            name, of_shape, dtype, chunks=(*chunk, *of_shape[1:]), compression="gzip", compression_opts=9
        )
        packed = zlib.compress(bytes(int(np.prod(made.chunks)) * made.dtype.itemsize), 9)
        for number in range(-(-of_shape[0] // chunk[0])):
            made.id.write_direct_chunk((number * chunk[0], *(0 for _ in of_shape[1:])), packed)

    return edit


def chunk_of(name: str, declared: int, content: bytes, more_filters: dict[str, Any] | None = None) -> Edit:
    """Replace a dataset by one chunk whose stored bytes are as given, whatever it declares."""

    def edit(file: h5py.File) -> None:
        file.pop(name, None)
        options = {"compression": "gzip"} if more_filters is None else more_filters
        made = file.create_dataset(name, (1, 1, 1, declared // 4), "f4", chunks=(1, 1, 1, declared // 4), **options)
        made.id.write_direct_chunk((0, 0, 0, 0), content)

    return edit


FOUR_AND_A_HALF_GIB = (4608, 1, 512, 512)  # of float32
RESULTS: dict[str, Edit] = {
    "samples of 4.5 GiB": zeros("samples/x", 0, shape=FOUR_AND_A_HALF_GIB),
    "samples below every limit of items": zeros("samples/x", 0, shape=(1000, 1, 512, 512)),
    "a history of 2 GiB": zeros("history", 2**31, [("step", "i8"), ("train_nll_nats", "f8")]),
    "a history of integers": zeros("history", 2**29, [("step", "i8")]),
    "one row of 2 GiB": zeros("final", 0, [("step", "i8"), ("weights", f"S{2**30}")], (2,)),
    "a chunk that inflates to a gigabyte": chunk_of("samples/x", 4096, zlib.compress(bytes(2**30))),
    "a chunk of gigabytes": chunk_of("samples/x", 2**31, zlib.compress(bytes(2**20))),
}


@pytest.mark.parametrize("what", RESULTS)
def test_a_small_result_that_expands_is_refused(result: Path, what: str) -> None:
    edited(result, RESULTS[what])
    assert result.stat().st_size < 6e6
    refused(lambda: read_result(result), "result.h5")


def test_data_that_were_compressed_twice_are_refused(result: Path) -> None:
    def edit(file: h5py.File) -> None:
        file.pop("samples/x")
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_chunk((1, 1, 32, 32))
        for _ in range(2):
            creation.set_deflate(9)
        space = h5py.h5s.create_simple((1, 1, 32, 32))
        made = h5py.h5d.create(file["samples"].id, b"x", h5py.h5t.IEEE_F32LE, space, creation)
        made.write_direct_chunk((0, 0, 0, 0), zlib.compress(zlib.compress(bytes(2**30))))

    edited(result, edit)
    refused(lambda: read_result(result), "packed in another way")


def test_millions_of_chunks_are_refused(result: Path) -> None:
    def edit(file: h5py.File) -> None:
        file.pop("samples/x")
        made = file.create_dataset("samples/x", (2**24, 1, 1, 1), "f4", chunks=(1, 1, 1, 1), maxshape=(None,) * 4)
        made[:200] = 1

    edited(result, edit)
    refused(lambda: read_result(result), "chunks")


def test_attributes_that_expand_are_refused(result: Path) -> None:
    def many_texts(file: h5py.File) -> None:  # any number of them may refer to one text
        texts = np.array(["x" * 2**20] * 4, object)
        del file.attrs["attributes"]
        file.attrs.create("attributes", texts, dtype=h5py.string_dtype())

    def many_values(file: h5py.File) -> None:
        file.attrs["attributes"] = '{"cell": [' + "{}," * 5_000_000 + "{}]}"

    edited(result, many_texts)
    refused(lambda: read_result(result), "not text")
    edited(result, many_values)
    refused(lambda: read_attrs(result), "attributes")


def test_a_study_is_charged_for_all_its_columns(study: Path) -> None:
    """Each column alone is within the budget."""

    def edit(file: h5py.File) -> None:
        for name in CELL_NUMBER_COLUMNS:
            zeros(f"cells/{name}", 2**27, "f8")(file)

    edited(study, edit)
    refused(lambda: read_any_study(study), "expand")


def test_texts_of_a_study_are_charged_for_their_objects(study: Path) -> None:
    def edit(file: h5py.File) -> None:
        text = np.frombuffer(("[" + "[]," * 20_000_000 + "[]]").encode(), np.uint8)
        del file["cells/id"]
        file.create_dataset("cells/id", data=text, compression="gzip")

    edited(study, edit)
    refused(lambda: read_any_study(study), "cells/id")


def as_old_schema(file: h5py.File, num_cells: int, text: str) -> None:
    """Rewrite the columns of cells as schema 2 had them: references to texts in HDF5's heap, here all to one text."""
    file.attrs["schema"] = 2
    for name in CELL_TEXT_COLUMNS:
        del file[f"cells/{name}"]
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    space = h5py.h5s.create_simple((num_cells,))
    kind = h5py.h5t.py_create(h5py.string_dtype(), logical=True)
    made = h5py.h5d.create(file["cells"].id, b"id", kind, space, creation)
    made.write(
        h5py.h5s.create_simple((1,)),
        _first_row(num_cells),
        np.array([text], object),
        mtype=h5py.h5t.py_create(h5py.string_dtype()),
    )


def _first_row(num_cells: int) -> Any:
    space = h5py.h5s.create_simple((num_cells,))
    space.select_hyperslab((0,), (1,))
    return space


def test_many_references_to_one_text_are_refused(study: Path) -> None:
    """The file has 1.2 MB, its texts 6 GB."""
    num_cells = 65_536
    edited(study, lambda file: as_old_schema(file, num_cells, "x" * 100_000))
    content = bytearray(study.read_bytes())
    reference = re.escape((100_000).to_bytes(4, "little")) + rb".{8}\x01\0\0\0(?=\0{4096})"
    (match,) = re.finditer(reference, content, re.DOTALL)
    offset = match.start()
    content[offset : offset + 16 * num_cells] = content[offset : offset + 16] * num_cells
    study.write_bytes(bytes(checksum_header(bytes(content[SIZE:]))) + bytes(content[SIZE:]))
    assert study.stat().st_size < 3e6
    with h5py.File(study) as file:
        assert len(file["cells/id"][num_cells - 1]) == 100_000
    refused(lambda: read_any_study(study), "expand")


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


def test_a_study_of_ten_thousand_cells_is_read(tmp_path: Path) -> None:
    """All cells are equal, such that no honest study of that size compresses better."""
    write_study(tmp_path / "study.h5", study_of(10_000))
    read = read_any_study(tmp_path / "study.h5")
    assert len(read.cells["id"]) == 10_000
    assert replace(read, name="x").samples.shape == (10_000, 1, 28, 28)


# text


@pytest.fixture
def folder(tmp_path: Path) -> StudyDir:
    made, study, _ = freeze(parse_study(GRID, "g.yaml", precision="fp32"), tmp_path / "runs")
    made.cell(study.cells[0].id).path.mkdir(parents=True)
    return made


def test_a_line_of_a_manifest_that_expands_is_refused(folder: StudyDir) -> None:
    lines = folder.manifest.read_text().splitlines()
    lines[0] = '{"id": "x", "cell": [' + "{}," * 20_000_000 + "{}]}"
    folder.manifest.write_text("\n".join(lines) + "\n")
    refused(folder.read_study, "a line of manifest.jsonl")


def test_a_header_that_takes_long_to_parse_is_refused(folder: StudyDir) -> None:
    with folder.header.open("a") as file:
        file.write("plugins: [" + "[]," * 2_000_000 + "]\n")
    assert outcome(folder.read_study).startswith("MachineError")


def test_a_record_that_expands_is_refused(folder: StudyDir) -> None:
    where = SubmissionDir(folder.submitit / "abc")
    where.path.mkdir(parents=True)
    where.record.write_text('{"name": "abc", "stages": [' + "{}," * 20_000_000 + "{}]}")
    refused(where.read, "not a submission")


def test_attempts_that_expand_are_left(folder: StudyDir) -> None:
    attempts = tasks_of(folder.read_study(), folder)[0].attempts
    attempts.parent.mkdir(parents=True, exist_ok=True)
    attempts.write_text('{"attempt": "a", "x": [' + "{}," * 20_000_000 + "{}]}\n")
    assert outcome(lambda: read_attempts(attempts)) == "valid"
    attempts.write_text('{"attempt": "a", "x": [' + "{}," * 2_500_000 + "{}]}\n")
    assert outcome(lambda: read_attempts(attempts)) == "valid"
    assert read_attempts(attempts) == []
