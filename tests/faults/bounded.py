"""Reads in a child with limited memory and time, and files that were edited on purpose."""

from __future__ import annotations

import json
import os
import resource
import signal
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from benchmarks.dummy_worker import small_result
from nllgen.errors import NllgenError
from nllgen.storage.checksum import SIZE, checksum_header
from nllgen.storage.schema import CELL_NUMBER_COLUMNS, CELL_TEXT_COLUMNS
from nllgen.storage.study_file import LONG_TABLES, StudyFile
from nllgen.study.load import parse_study
from tests.faults.texts import GRID

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
