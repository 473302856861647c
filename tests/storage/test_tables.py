"""One encoding of every value: tables come back as they were, and equal tables have equal digests."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nllgen.errors import CorruptFileError
from nllgen.storage.checksum import with_checksum
from nllgen.storage.hdf5 import open_read
from nllgen.storage.schema import EVAL_COLUMNS
from nllgen.storage.tables import Table, digest_table, get_texts, make_table, put_texts, read_table, write_table

SPECIAL = [0.0, -0.0, float("inf"), float("-inf"), 5e-324, 1.7976931348623157e308, -1.0]
NANS = [0x7FF8000000000000, 0xFFF8000000000000, 0x7FF0000000000001, 0xFFFFFFFFFFFFFFFF, 0x7FF8DEADBEEF0000]
COLUMNS = [name for name in EVAL_COLUMNS if name not in ("step", "weights")]


def number(bits: int) -> float:
    return float(struct.unpack("<d", struct.pack("<Q", bits))[0])


numbers = st.one_of(st.sampled_from(SPECIAL), st.sampled_from(NANS).map(number), st.floats(width=64))


@st.composite
def tables(draw: st.DrawFn) -> Table:
    num_rows = draw(st.sampled_from([0, 1, 2, 7]))
    columns = draw(st.lists(st.sampled_from(COLUMNS), unique=True, max_size=5))
    table: Table = {
        "step": np.array(draw(st.lists(st.integers(0, 2**62), min_size=num_rows, max_size=num_rows)), np.int64),
        "weights": np.array(
            draw(st.lists(st.sampled_from(["raw", "ema", "best", "größte"]), min_size=num_rows, max_size=num_rows)),
            "U16",
        ),
    }
    for column in columns:
        values = draw(st.lists(numbers, min_size=num_rows, max_size=num_rows))
        table[column] = np.array(values, np.float64)
    return table


def digest(table: Table) -> str:
    made = hashlib.sha256()
    digest_table(made, "eval", table)
    return made.hexdigest()


def through_a_file(table: Table, path: Path) -> Table:
    path.write_bytes(with_checksum(lambda file: write_table(file, "eval", table, EVAL_COLUMNS)))
    with open_read(path) as file:
        return read_table(file, "eval", EVAL_COLUMNS)


@settings(deadline=None)
@given(table=tables())
def test_a_table_comes_back_with_its_digest(tmp_path_factory: pytest.TempPathFactory, table: Table) -> None:
    path = tmp_path_factory.getbasetemp() / "table.h5"
    back = through_a_file(table, path)
    assert set(back) == set(table)
    for name, data in table.items():
        np.testing.assert_array_equal(back[name], data)
        if data.dtype.kind == "f":
            np.testing.assert_array_equal(np.signbit(back[name][data == 0]), np.signbit(data[data == 0]))
    assert digest(back) == digest(table)
    first = path.read_bytes()
    through_a_file(back, path)
    assert path.read_bytes() == first


@pytest.mark.parametrize("bits", NANS)
def test_every_nan_has_the_same_digest_and_the_same_bytes(tmp_path: Path, bits: int) -> None:
    one, other = ({"val_nll_nats": np.array([value])} for value in (number(bits), np.nan))
    assert digest(one) == digest(other)
    keys = {"step": np.array([1]), "weights": np.array(["raw"], "U16")}
    files = []
    for name, table in (("one", one), ("other", other)):
        through_a_file(keys | table, tmp_path / name)
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1]


def test_values_that_differ_have_different_digests() -> None:
    values = [*SPECIAL, np.nan]
    assert len({digest({"kl_nats": np.array([value])}) for value in values}) == len(values)


def test_a_column_that_was_not_asked_for_is_absent() -> None:
    rows: list[dict[str, Any]] = [{"step": 1, "weights": "raw", "kl_nats": 2.0}, {"step": 2, "weights": "raw"}]
    table = make_table(rows, EVAL_COLUMNS)
    assert list(table) == ["step", "weights", "kl_nats"]
    assert np.isnan(table["kl_nats"][1])


def test_columns_that_other_tools_added_are_left(tmp_path: Path) -> None:
    table = make_table([{"step": 1, "weights": "raw", "kl_nats": 2.0}], EVAL_COLUMNS)
    path = tmp_path / "table.h5"
    content = with_checksum(
        lambda file: write_table(file, "eval", table | {"mine": np.ones(1)}, EVAL_COLUMNS | {"mine": "1"})
    )
    path.write_bytes(content)
    with open_read(path) as file:
        assert list(read_table(file, "eval", EVAL_COLUMNS)) == ["step", "weights", "kl_nats"]


@pytest.mark.parametrize(
    "rows",
    [
        np.zeros(3),
        np.zeros((2, 2), [("step", "i8")]),
        np.zeros(2, [("step", "f8")]),
        np.zeros(2, [("kl_nats", "f8", (3,))]),
        np.zeros(2, [("kl_nats", "S8")]),
    ],
)
def test_what_is_no_such_table_is_refused(tmp_path: Path, rows: Any) -> None:
    path = tmp_path / "table.h5"

    def fill(file: h5py.File) -> None:
        file["eval"] = rows

    path.write_bytes(with_checksum(fill))
    with pytest.raises(CorruptFileError, match=r"eval|of a table|column"), open_read(path) as file:
        read_table(file, "eval", EVAL_COLUMNS)


@settings(deadline=None)
@given(texts=st.lists(st.text(st.characters(codec="utf-8"))))
def test_texts_of_any_length_come_back(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "texts.h5"
    path.write_bytes(with_checksum(lambda file: put_texts(file, "cells/id", texts)))
    with open_read(path) as file:
        assert list(get_texts(file, "cells/id")) == texts


def test_one_long_text_does_not_widen_the_others(tmp_path: Path) -> None:
    """Once, a file of 162 kB made an array of 800 MB."""
    path = tmp_path / "texts.h5"
    path.write_bytes(with_checksum(lambda file: put_texts(file, "cells/id", ["x" * 10**6, *["y"] * 1000])))
    with open_read(path) as file:
        texts = get_texts(file, "cells/id")
    assert texts.dtype == object
    assert texts.nbytes < 10_000


def test_units_are_json(tmp_path: Path) -> None:
    path = tmp_path / "table.h5"
    through_a_file(make_table([{"step": 1, "weights": "raw", "kl_nats": 2.0}], EVAL_COLUMNS), path)
    with h5py.File(path) as file:
        assert json.loads(file["eval"].attrs["units"]) == {"step": "steps", "weights": "name", "kl_nats": "nats"}
