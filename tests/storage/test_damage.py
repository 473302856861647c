"""Whatever is wrong with a file, its reader says so in a typed error, and soon."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nllgen.errors import CorruptFileError, MachineError, SchemaError
from nllgen.storage.dataset import Dataset, read_dataset, read_dataset_head, write_dataset
from nllgen.storage.result import Result, read_attrs, read_result, science_sha256

READERS: list[Callable[[Path], Any]] = [read_result, read_attrs]
FIXTURE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("kept", [0, 1, 8, 511, 512, 513, 600, 1024, 2048, 5000, 0.5, 0.9, -1])
def test_a_truncated_result_is_refused(written: Path, read: Any, kept: Any) -> None:
    content = written.read_bytes()
    written.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with pytest.raises(CorruptFileError, match=r"result\.h5"):
        read(written)


@FIXTURE
@given(flips=st.lists(st.tuples(st.integers(0, 10**9), st.integers(1, 255)), min_size=1, max_size=20))
def test_flipped_bytes_are_refused_or_harmless(written: Path, result: Result, flips: Any) -> None:
    whole = written.read_bytes()
    content = bytearray(whole)
    for place, bits in flips:
        content[place % len(content)] ^= bits
    damaged = written.with_name("damaged.h5")
    damaged.write_bytes(content)
    for read in READERS:
        try:
            found = read(damaged)
        except (CorruptFileError, SchemaError):
            continue
        attrs = found.attrs if isinstance(found, Result) else found
        assert attrs["science_sha256"] == science_sha256(result)
        assert content == whole  # two flips of one byte may undo each other


@FIXTURE
@given(st.binary(max_size=2000))
def test_any_other_content_is_refused(tmp_path: Path, content: Any) -> None:
    (tmp_path / "result.h5").write_bytes(content)
    with pytest.raises(CorruptFileError):
        read_result(tmp_path / "result.h5")


def test_a_file_is_read_anew_after_it_was_damaged(written: Path) -> None:
    read_attrs(written)
    content = bytearray(written.read_bytes())
    content[-1] ^= 1
    written.write_bytes(content)
    with pytest.raises(CorruptFileError, match="damaged"):
        read_attrs(written)


# checksums that are right, of content that is wrong


def replace_dataset(name: str, **options: Any) -> Any:
    def edit(file: Any) -> None:
        del file[name]
        file.create_dataset(name, **options)

    return edit


def link(name: str, target: Any) -> Any:
    def edit(file: Any) -> None:
        del file[name]
        file[name] = target

    return edit


def virtual(name: str, shape: Any) -> Any:
    def edit(file: Any) -> None:
        layout = h5py.VirtualLayout(shape, "f8")
        layout[:] = h5py.VirtualSource("elsewhere.h5", "x", shape)
        del file[name]
        file.create_virtual_dataset(name, layout)

    return edit


def attribute(name: str, value: Any) -> Any:
    return lambda file: file.attrs.__setitem__(name, value)


def table(**columns: Any) -> Any:
    """Replace /eval by a table whose other columns are as they should be."""
    kinds: dict[str, Any] = {"step": "i8", "epoch": "f8", "weights": "S16", "val_nll_nats": "f8", "time_s": "f8"}
    kinds = {name: kind for name, kind in (kinds | columns).items() if kind is not None}
    return replace_dataset("eval", data=np.zeros(2, list(kinds.items())))


def attributes(**values: Any) -> Any:
    """Change values of the JSON attribute; None removes one."""

    def edit(file: Any) -> None:
        attrs = json.loads(file.attrs["attributes"]) | values
        file.attrs["attributes"] = json.dumps({name: value for name, value in attrs.items() if value is not None})

    return edit


def one_value(column: str, value: float) -> Any:
    def edit(file: Any) -> None:
        rows = file["eval"][()]
        rows[column][0] = value
        file["eval"][...] = rows

    return edit


TEXT = h5py.string_dtype()
HUGE = {"dtype": [("step", "i8"), ("weights", "S16")], "chunks": (1024,), "compression": "gzip"}
WRONG = {
    "numbers for text": table(weights="f8"),
    "text for numbers": table(val_nll_nats="S16"),
    "floats for steps": table(step="f8"),
    "complex numbers": table(val_nll_nats="c16"),
    "texts of variable length": replace_dataset("eval", shape=(2,), dtype=[("step", "i8"), ("weights", TEXT)]),
    "references": replace_dataset("eval", shape=(2,), dtype=[("step", "i8"), ("weights", h5py.ref_dtype)]),
    "a column of arrays": table(val_nll_nats=("f8", (3,))),
    "a missing column": table(val_nll_nats=None),
    "no steps": table(step=None),
    "no weights": table(weights=None),
    "other numbers": table(),
    "one other number": one_value("val_nll_nats", 5.0),
    "text that is not UTF-8": one_value("weights", b"\xff"),  # type: ignore[arg-type]
    "two axes": replace_dataset("eval", data=np.zeros((2, 1), [("step", "i8")])),
    "a scalar": replace_dataset("eval", data=np.zeros((), [("step", "i8")])),
    "nothing at all": replace_dataset("eval", data=h5py.Empty("f8")),
    "images of three axes": replace_dataset("samples/x", data=np.zeros((2, 7, 7), np.float32)),
    "a huge declared length": replace_dataset("eval", shape=(2**60,), **HUGE),
    "a large declared length": replace_dataset("eval", shape=(2**27,), **HUGE),
    "more than memory": replace_dataset("samples/x", shape=(2**24, 1, 2**10, 2**10), dtype="f4", chunks=(1, 1, 8, 8)),
    "a missing table": lambda file: file.__delitem__("final"),
    "missing samples": lambda file: file.__delitem__("samples"),
    "a table that is an array": replace_dataset("eval", data=np.zeros(2)),
    "samples that are an array": replace_dataset("samples", data=np.zeros(2)),
    "a table that is a type": link("eval", np.dtype("f8")),
    "a table that is a group": lambda file: (file.__delitem__("eval"), file.create_group("eval")),
    "an external link to a table": link("eval", h5py.ExternalLink("whole.h5", "/eval")),
    "an external link to a group": link("samples", h5py.ExternalLink("whole.h5", "/samples")),
    "a soft link": link("eval", h5py.SoftLink("/final")),
    "a soft link to nothing": link("samples/x", h5py.SoftLink("/nothing")),
    "a link to itself": link("eval", h5py.SoftLink("/eval")),
    "a virtual dataset": virtual("samples/x", (2, 1, 7, 7)),
    "an external file": replace_dataset("samples/x", shape=(1, 1, 2, 2), dtype="f8", external="/etc/passwd"),
    "an unknown outcome": attributes(outcome="fine"),
    "another cell's id": attributes(cell_id="0" * 16),
    "a cell that is no JSON": attributes(cell="{"),
    "a cell with an unknown key": attributes(cell="{}"),
    "a number for text": attributes(host=3.0),
    "text for a number": attributes(attempts="three"),
    "a truth value for a number": attributes(attempts=True),
    "a list for a number": attributes(attempts=[1, 2]),
    "a list for text": attributes(host=["a", "b"]),
    "a missing attribute": attributes(torch_version=None),
    "attributes that are no JSON": attribute("attributes", "{"),
    "attributes that are a list": attribute("attributes", "[]"),
    "attributes that are a number": attribute("attributes", 3.0),
    "no attributes": lambda file: file.attrs.__delitem__("attributes"),
    "a missing schema": lambda file: file.attrs.__delitem__("schema"),
    "a schema that is text": attribute("schema", "1"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_a_result_may_not_hold_is_refused(written: Path, tamper: Any, tmp_path: Path, what: Any) -> None:
    (tmp_path / "whole.h5").write_bytes(written.read_bytes())
    tamper(written, WRONG[what])
    with pytest.raises(CorruptFileError, match=r"result\.h5"):
        read_result(written)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("schema", [0, 1, 99])
def test_another_schema_is_named_with_a_hint(written: Path, tamper: Any, read: Any, schema: Any) -> None:
    tamper(written, attribute("schema", schema))
    with pytest.raises(SchemaError, match=rf"schema {schema}, this version reads schema 3(.|\n)*nllgen for this file"):
        read(written)


def test_datasets_of_a_later_version_are_left_alone(written: Path, tamper: Any, result: Result) -> None:
    tamper(written, lambda file: file.create_dataset("novel", data=np.zeros(2)))
    assert science_sha256(read_result(written)) == science_sha256(result)


# what is not there, and what is no file


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match="no such file"):
        read_result(tmp_path / "result.h5")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match="is not a file"):
        read_result(tmp_path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "result.h5")
    with pytest.raises(CorruptFileError, match="is not a file"):
        read_result(tmp_path / "result.h5")


def test_a_file_that_the_machine_cannot_read_is_not_called_damaged(tmp_path: Path) -> None:
    """A result that is taken for damaged is run again; one that cannot be read may be whole."""
    with pytest.raises(MachineError, match="cannot read /proc/self/mem"):  # its first page is nobody's, root's neither
        read_attrs(Path("/proc/self/mem"))


# data sets


@pytest.fixture
def dataset(tmp_path: Path) -> Any:
    x = {split: np.zeros((100, 1, 7, 7), np.float32) for split in ("train", "val", "test")}
    log_prob = {split: np.linspace(-9, -1, 100) for split in x}
    names = ("entropy_nats", "entropy_se_nats", "forward_inverse_nats", "fp32_fp64_nats", "inverse_error")
    write_dataset(tmp_path / "dataset.h5", Dataset("truth", "sha", x, log_prob, dict.fromkeys(names, 0.5)))
    return tmp_path / "dataset.h5"


WRONG_DATASET = {
    "a missing split": lambda file: file.__delitem__("val"),
    "a link to a split": link("val", h5py.SoftLink("/test")),
    "a split that is an array": replace_dataset("val", data=np.zeros(2)),
    "images that are numbers": replace_dataset("val/x", data=np.zeros(100)),
    "a missing entropy": lambda file: file.attrs.__delitem__("entropy_nats"),
}


@pytest.mark.parametrize("read", [read_dataset, read_dataset_head])
@pytest.mark.parametrize("what", WRONG_DATASET)
def test_what_a_data_set_may_not_hold_is_refused(dataset: Any, tamper: Any, read: Any, what: Any) -> None:
    tamper(dataset, WRONG_DATASET[what])
    with pytest.raises(CorruptFileError, match=r"dataset\.h5"):
        read(dataset)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_density_that_is_not_finite_is_refused(dataset: Any, tamper: Any, value: Any) -> None:
    tamper(dataset, lambda file: file["val/log_prob"].__setitem__(3, value))
    with pytest.raises(CorruptFileError, match="val"):
        read_dataset(dataset)


@pytest.mark.parametrize("read", [read_dataset, read_dataset_head])
def test_a_data_set_of_a_newer_schema_is_refused(dataset: Any, tamper: Any, read: Any) -> None:
    tamper(dataset, attribute("schema", 99))
    with pytest.raises(SchemaError, match="newer nllgen"):
        read(dataset)


@FIXTURE
@given(place=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255))
def test_a_flipped_byte_of_a_data_set_is_refused(dataset: Any, place: Any, bits: Any) -> None:
    content = bytearray(dataset.read_bytes())
    content[int(place * len(content))] ^= bits
    damaged = dataset.with_name("damaged.h5")
    damaged.write_bytes(content)
    for read in (read_dataset, read_dataset_head):
        with pytest.raises(CorruptFileError):
            read(damaged)
