from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from nllgen.errors import CorruptFileError, SchemaError
from nllgen.storage.schema import CELL_NUMBER_COLUMNS, CELL_TEXT_COLUMNS
from nllgen.storage.study_file import LONG_TABLES, StudyFile, read_study, write_study

TABLES = ("cells", *LONG_TABLES)


@pytest.fixture
def content() -> Any:
    cells = {name: np.array([f"{name} {i}" for i in range(3)]) for name in CELL_TEXT_COLUMNS}
    cells["outcome"] = np.array(["done", "diverged", "missing"])
    cells |= {name: np.array([1.0, np.nan, 3.0]) for name in CELL_NUMBER_COLUMNS}
    index = np.array([0, 0, 2])
    return StudyFile(
        name="small",
        study={"name": "small", "metrics": {"frechet": ["lenet"]}},
        cells=cells,
        eval={"cell": index, "step": index * 10, "weights": np.array(["raw", "ema", "raw"]), "kl_nats": np.ones(3)},
        history={"cell": index, "step": index * 10, "train_nll_nats": np.array([1.0, np.nan, 2.0])},
        final={"cell": index[:0], "step": index[:0], "weights": np.empty(0, str)},
        samples=np.linspace(0, 1, 2 * 49, dtype=np.float32).reshape(2, 1, 7, 7),
        samples_cell=np.array([0, 2]),
        reference={"mnist": np.ones((1, 1, 7, 7), np.float32)},
        datasets={"truth": {"entropy_nats": -3.0}},
        sources=("a", "b", ""),
    )


@pytest.fixture
def path(tmp_path: Path, content: Any) -> Any:
    write_study(tmp_path / "study.h5", content)
    return tmp_path / "study.h5"


def test_what_is_read_is_what_was_written(path: Path, content: Any) -> None:
    found = read_study(path)
    assert (found.name, found.study, found.datasets) == (content.name, content.study, content.datasets)
    for name in TABLES:
        table, wanted = getattr(found, name), getattr(content, name)
        assert set(table) == set(wanted)
        for column, data in wanted.items():
            np.testing.assert_array_equal(table[column], data)
    np.testing.assert_array_equal(found.samples, content.samples)
    np.testing.assert_array_equal(found.samples_cell, content.samples_cell)
    np.testing.assert_array_equal(found.reference["mnist"], content.reference["mnist"])


def test_every_dataset_has_a_unit(path: Path, units_in: Any) -> None:
    units = units_in(path)
    assert len(units) > len(CELL_TEXT_COLUMNS)
    tables = [name for name, unit in units.items() if not isinstance(unit, str)]
    assert tables == ["eval", "final", "history"]
    with h5py.File(path) as file:
        for name in tables:
            assert list(json.loads(file[name].attrs["units"])) == list(file[name].dtype.names)


def test_a_second_collect_replaces_the_first(path: Path, content: Any) -> None:
    write_study(path, replace(content, name="other"))
    assert read_study(path).name == "other"


@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.99])
def test_a_truncated_study_is_refused(path: Path, part: Any) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(CorruptFileError, match=r"study\.h5"):
        read_study(path)


def test_a_newer_schema_is_refused(path: Path, tamper: Any) -> None:
    tamper(path, lambda file: file.attrs.__setitem__("schema", 99))
    with pytest.raises(SchemaError, match="schema 99"):
        read_study(path)


def texts(*values: str) -> Any:
    return np.frombuffer(json.dumps(values).encode(), np.uint8)


def remove(name: str) -> Any:
    return lambda file: file.__delitem__(name)


def put(name: str, data: Any) -> Any:
    def edit(file: Any) -> None:
        del file[name]
        file[name] = data

    return edit


WRONG = {
    "no cells": remove("cells"),
    "cells that are an array": put("cells", np.zeros(3)),
    "cells that lack a column": remove("cells/config"),
    "cells of unequal columns": put("cells/attempts", np.zeros(2)),
    "a row of no cell": put("eval", np.array([(0,), (3,)], [("cell", "i8")])),
    "a row of a negative cell": put("history", np.array([(-1,), (0,)], [("cell", "i8")])),
    "a table without cells": put("eval", np.zeros(2, [("step", "i8")])),
    "an index of fractions": put("eval", np.zeros(2, [("cell", "f8")])),
    "a table that is a group": lambda file: (file.__delitem__("eval"), file.create_group("eval")),
    "an unknown outcome": put("cells/outcome", texts("done", "fine", "missing")),
    "a text column that is no list": put("cells/host", np.frombuffer(b'{"a": 1}', np.uint8)),
    "a text column that is no JSON": put("cells/host", np.frombuffer(b"[1,", np.uint8)),
    "samples of no cell": put("samples/cell", np.array([0, 3])),
    "more samples than owners": put("samples/cell", np.array([0])),
    "samples that are elsewhere": put("samples", h5py.ExternalLink("other.h5", "/samples")),
    "a reference that is elsewhere": put("reference/mnist", h5py.SoftLink("/samples")),
    "a study that is no JSON": lambda file: file.attrs.__setitem__("study", "{"),
    "a study that is a list": lambda file: file.attrs.__setitem__("study", "[]"),
    "no datasets": lambda file: file.attrs.__delitem__("datasets"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_a_study_may_not_hold_is_refused(path: Path, tamper: Any, what: Any) -> None:
    tamper(path, WRONG[what])
    with pytest.raises(CorruptFileError, match=r"study\.h5"):
        read_study(path)
