"""The readers of files that others may have written or damaged, each with a valid file to start from."""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from benchmarks.dummy_worker import small_result
from nllgen.data.sources import Dequantised
from nllgen.data.truth import load_truth, to_bytes, truth_bytes, weights_sha256
from nllgen.errors import StoppedError
from nllgen.models import RealNVP
from nllgen.storage.checksum import SIZE
from nllgen.storage.dataset import NUMBERS, Dataset, read_dataset, read_dataset_head, write_dataset
from nllgen.storage.external import read_array
from nllgen.storage.head import read_head
from nllgen.storage.result import read_attrs, read_result, write_result
from nllgen.storage.schema import CELL_NUMBER_COLUMNS, CELL_TEXT_COLUMNS, SPLITS
from nllgen.storage.study_file import LONG_TABLES, StudyFile, read_study, write_study
from nllgen.storage.tables import make_table
from nllgen.study.config import Cell
from nllgen.study.load import parse_study
from nllgen.train.checkpoint import resume
from nllgen.train.loop import Hooks, train
from nllgen.train.state import TrainState
from nllgen.worker.factory import CellData, make_state
from tests.faults import mutants
from tests.faults.mutants import Target
from tests.faults.texts import GRID, texts

_CPU = torch.device("cpu")
_BYTES = (mutants.BYTE_EDITS, mutants.with_bytes_edited)
_HDF5 = (mutants.HDF5_EDITS, mutants.with_hdf5_edited)
_TENSORS = (mutants.TENSOR_EDITS, mutants.with_tensors_edited)


def targets(directory: Path) -> dict[str, Target]:
    """Return the targets by name; their files are written into a directory."""
    study = parse_study(GRID, "g.yaml", precision="fp32")
    on_disk = {}
    for name, (content, readers) in _hdf5_files(directory, study).items():
        on_disk[f"{name}, damaged bytes"] = _on_disk(directory, ".h5", content, *_BYTES, readers)
        on_disk[f"{name}, rearranged with a valid checksum"] = _on_disk(directory, ".h5", content, *_HDF5, readers)
    for name, (content, of_damaged, of_rearranged) in _tensor_files(study).items():
        on_disk[f"{name}, damaged bytes"] = _on_disk(directory, ".pt", content, *_BYTES, [of_damaged])
        on_disk[f"{name}, rearranged"] = _on_disk(directory, ".pt", content, *_TENSORS, [of_rearranged])
    return on_disk | {"arrays made elsewhere": _arrays(directory)} | texts(directory, study)


def raw_hdf5(directory: Path) -> dict[str, Target]:
    """Return result.h5 with damaged bytes and a valid checksum, which tests HDF5's own parser."""
    content, readers = _hdf5_files(directory, parse_study(GRID, "g.yaml", precision="fp32"))["result.h5"]

    def damage(whole: bytes, edits: list[mutants.Edit]) -> bytes:
        return mutants.with_new_checksum(whole[:SIZE] + mutants.with_bytes_edited(whole[SIZE:], edits))

    return {
        "result.h5, damaged with a valid checksum": _on_disk(
            directory, ".h5", content, mutants.BYTE_EDITS, damage, readers
        )
    }


def _on_disk(directory: Path, suffix: str, content: bytes, examples: Any, damage: Any, readers: Any) -> Target:
    counter = itertools.count()

    def read(edits: list[mutants.Edit]) -> None:
        path = directory / f"{next(counter)}{suffix}"
        path.write_bytes(damage(content, edits))
        try:
            errors = [error for reader in readers if (error := _error_of(reader, path)) is not None]
        finally:
            path.unlink()
        for error in sorted(errors, key=lambda error: hasattr(error, "exit_code")):
            raise error  # errors other than NllgenError first

    return Target(examples, read)


def _error_of(reader: Callable[[Path], object], path: Path) -> Exception | None:
    try:
        reader(path)
    except Exception as error:
        return error
    return None


def _hdf5_files(directory: Path, study: Any) -> dict[str, tuple[bytes, list[Callable[[Path], object]]]]:
    result = small_result(study.cells[0])
    write_result(directory / "result.h5", result, "a", lambda: None)
    x = {split: np.zeros((4, 1, 7, 7), np.float32) for split in SPLITS}
    dataset = Dataset("t", "s", x, dict.fromkeys(SPLITS, np.linspace(-9, -1, 4)), dict.fromkeys(NUMBERS, 0.5))
    write_dataset(directory / "dataset.h5", dataset)
    cells = {"id": np.array(["a"]), "config": np.array([study.cells[0].model_dump_json()])}
    write_study(directory / "study.h5", _study_file(study, cells))
    readers: dict[str, list[Callable[[Path], object]]] = {
        "result.h5": [read_result, read_attrs, read_head],
        "dataset.h5": [read_dataset, read_dataset_head],
        "study.h5": [read_study],
    }
    return {name: ((directory / name).read_bytes(), of_file) for name, of_file in readers.items()}


def _study_file(study: Any, cells: Any) -> StudyFile:
    texts = {name: cells.get(name, np.array(["x"])) for name in CELL_TEXT_COLUMNS}
    numbers = {name: np.ones(1) for name in CELL_NUMBER_COLUMNS}
    row = {"step": 1, "weights": "raw"}
    tables = {name: {"cell": np.zeros(1, np.int64), **make_table([row], known)} for name, known in LONG_TABLES.items()}
    images = np.zeros((1, 1, 7, 7), np.float32)
    return StudyFile(
        name=study.name,
        study=study.model_dump(mode="json", exclude={"cells"}),
        cells=texts | numbers,
        samples=images,
        samples_cell=np.zeros(1, np.int64),
        reference={"mnist": images},
        datasets={"t": {"entropy_nats": 1.0}},
        sources=("",),
        **tables,
    )


def _tensor_files(study: Any) -> dict[str, tuple[bytes, Callable[[Path], object], Callable[[Path], object]]]:
    """Return, by name, a valid file, its reader for damaged bytes and its reader for rearranged tensors."""
    torch.set_num_threads(1)
    cell = study.cells[-1]
    levels = torch.randint(0, 256, (32, 1, 7, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    def make() -> TrainState:
        data = CellData(lambda order, noise: Dequantised(levels, order, noise, 1e-6), {}, levels)
        return make_state(cell, data, None, _CPU)

    begun = make()
    stop = iter([False, False, True])
    saved: list[bytes] = []
    hooks = Hooks(
        evaluate=lambda flow, role: {"val_nll_nats": 1.0},
        save=lambda state: saved.append(to_bytes(state.state_dict())),
        should_stop=lambda: next(stop, False),
        progress=lambda step, scalars: None,
    )
    with contextlib.suppress(StoppedError):
        train(begun, hooks)

    train(undisturbed := make(), hooks)
    bits = weights_sha256(undisturbed.flow.state_dict())

    def resumed(path: Path) -> None:
        """Train from a checkpoint; the weights equal those of an undisturbed run, whether or not it was usable."""
        state = resume(make, [path], lambda text: None)
        train(state, hooks)
        assert weights_sha256(state.flow.state_dict()) == bits

    truth = truth_bytes(study.truth, make_flow_weights(study.truth))
    return {
        "checkpoint.pt": (saved[-1], resumed, lambda path: resume(make, [path], lambda text: None).state_dict()),
        "truth.pt": (truth, *(lambda path: load_truth(path, _CPU),) * 2),
    }


def make_flow_weights(cell: Cell) -> dict[str, torch.Tensor]:
    """Weights that fit a cell."""
    return RealNVP(cell.real_nvp).state_dict()


def _arrays(directory: Path) -> Target:
    packed = io.BytesIO()
    np.savez_compressed(packed, x=np.zeros((3, 1, 7, 7), np.float32))
    return _on_disk(
        directory,
        ".npz",
        packed.getvalue(),
        mutants.BYTE_EDITS,
        mutants.with_bytes_edited,
        [lambda path: read_array(path, ["x"], 4)],
    )


def raw_hdf5_arrays(directory: Path) -> dict[str, Target]:
    """Return an HDF5 file of another program, which has no checksum."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["x"] = np.zeros((3, 1, 7, 7), np.float32)
    readers = [lambda path: read_array(path, ["x"], 4)]
    return {"HDF5 made elsewhere": _on_disk(directory, ".h5", buffer.getvalue(), *_BYTES, readers)}
