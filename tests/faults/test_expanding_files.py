"""Small files that expand to gigabytes, and links to files that are waited for: refused in two seconds and one GiB."""

from __future__ import annotations

import re
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from nllgen.launch.freeze import freeze
from nllgen.launch.slurm.arrays import SubmissionDir
from nllgen.launch.tasks import read_attempts
from nllgen.storage.checksum import SIZE, checksum_header
from nllgen.storage.convert import read_any_study
from nllgen.storage.result import read_attrs, read_result
from nllgen.storage.schema import CELL_NUMBER_COLUMNS, CELL_TEXT_COLUMNS
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.study_file import write_study
from nllgen.storage.tasks import tasks_of
from nllgen.study.load import parse_study
from tests.faults.bounded import Edit, chunk_of, edited, outcome, refused, study_of, zeros
from tests.faults.texts import GRID

pytestmark = pytest.mark.timeout(120)


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
