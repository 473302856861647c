from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from nllgen.errors import CorruptFileError, MachineError
from nllgen.storage.checksum import SIZE, checksum_header
from nllgen.storage.head import read_head
from nllgen.storage.result import (
    TABLES,
    Result,
    model_of,
    read_attrs,
    read_result,
    write_result,
)
from nllgen.storage.schema import RESULT_ATTRS
from nllgen.storage.study_dir import TaskDir
from nllgen.study.config import Cell
from tests.race import race

Tamper = Callable[[Path, Callable[[h5py.File], None]], None]


def test_what_is_read_is_what_was_written(written: Path, result: Result) -> None:
    found = read_result(written)
    assert same(found, result)
    expected = result.attrs | {"dead_step": pytest.approx(result.attrs["dead_step"], nan_ok=True)}
    assert {name: found.attrs[name] for name in result.attrs} == expected


def test_the_header_names_the_device(written: Path, result: Result) -> None:
    assert read_head(written)["device"] == result.attrs["device"] != ""


def test_a_header_of_an_older_result_names_no_device(written: Path) -> None:
    content = written.read_bytes()
    head = json.loads(content[:SIZE].split(b"\n")[1])
    del head["device"]
    written.write_bytes(checksum_header(content[SIZE:], json.dumps(head)) + content[SIZE:])
    assert read_head(written)["device"] == ""


def test_a_result_without_samples_and_steps_is_a_result(tmp_path: Path, make_result: Callable[..., Result]) -> None:
    result = make_result(num_samples=0)
    result = replace(result, history={name: data[:0] for name, data in result.history.items()})
    write_result(tmp_path / "result.h5", result, "a", lambda: None)
    assert same(read_result(tmp_path / "result.h5"), result)


def test_the_attributes_alone_are_the_same(written: Path) -> None:
    attrs = read_attrs(written)
    assert attrs == read_result(written).attrs
    assert set(attrs) == set(RESULT_ATTRS)


def test_attributes_are_the_callers_own(written: Path) -> None:
    read_attrs(written)["outcome"] = "mine"
    assert read_attrs(written)["outcome"] == "done"


def test_attributes_follow_the_file(written: Path, make_result: Callable[..., Result]) -> None:
    before = read_attrs(written)["host"]
    written.unlink()
    write_result(written, make_result(host="there"), "b", lambda: None)
    assert (before, read_attrs(written)["host"]) == ("here", "there")


# the contract of schema 3


CONTRACT_ATTRS = {
    "schema", "cell_id", "cell", "study", "outcome", "version", "code_sha256", "container_sha256", "started_at",
    "finished_at", "host", "device", "num_threads", "num_cpus", "num_parameters",
    "seconds_per_step", "attempts", "assets",
    "torch_version", "precision", "truth_sha256", "model_sha256", "science_sha256", "dead_step",
}  # fmt: skip


def test_every_attribute_of_the_contract_is_there(written: Path) -> None:
    with h5py.File(written) as file:
        assert file.attrs["schema"] == 3
        assert set(json.loads(file.attrs["attributes"])) == CONTRACT_ATTRS


def test_a_table_has_the_columns_that_were_measured_each_with_its_unit(written: Path, result: Result) -> None:
    with h5py.File(written) as file:
        for name, known in TABLES.items():
            units = json.loads(file[name].attrs["units"])
            assert list(file[name].dtype.names) == list(units) == list(getattr(result, name))
            assert all(unit == known[column] for column, unit in units.items())
        assert set(file["eval"].dtype.names) == {"step", "epoch", "weights", "val_nll_nats", "time_s"}
        assert file["samples/x"].attrs["unit"] == "1"


def test_samples_are_images_of_float32(written: Path) -> None:
    with h5py.File(written) as file:
        assert (file["samples/x"].dtype, file["samples/x"].shape) == ("float32", (2, 1, 7, 7))


def test_plain_hdf5_finds_numbers_and_text_in_their_types(written: Path) -> None:
    with h5py.File(written) as file:
        assert file["eval"]["weights"][0] == b"raw"
        assert (file["eval"].dtype["step"], file["eval"].dtype["val_nll_nats"]) == ("int64", "float64")


def test_what_other_tools_add_is_ignored(written: Path, result: Result, tamper: Tamper) -> None:
    def add(file: h5py.File) -> None:
        file.attrs["note"] = "seen"
        file["eval"].attrs["DIMENSION_LABELS"] = "rows"
        file["thumbnails"] = np.zeros(3)

    tamper(written, add)
    assert same(read_result(written), result)


@pytest.mark.parametrize("outcome", ["", "Done", "finished"])
def test_an_unknown_outcome_is_refused(written: Path, tamper: Tamper, outcome: str) -> None:
    def edit(file: h5py.File) -> None:
        attrs = json.loads(file.attrs["attributes"])
        file.attrs["attributes"] = json.dumps(attrs | {"outcome": outcome})

    tamper(written, edit)
    with pytest.raises(CorruptFileError, match="outcome"):
        read_result(written)


# publication


def test_the_second_writer_leaves_the_first_ones_file_untouched(
    written: Path, make_result: Callable[..., Result]
) -> None:
    before = (written.stat().st_ino, written.read_bytes())
    assert not write_result(written, make_result(host="there"), "b", lambda: None)
    assert (written.stat().st_ino, written.read_bytes()) == before


def test_the_second_writer_does_not_touch_the_weights(written: Path, result: Result) -> None:
    def weights() -> None:
        pytest.fail("the weights of the first were overwritten")

    write_result(written, result, "b", weights)


def test_the_weights_are_in_place_before_the_result(tmp_path: Path, result: Result) -> None:
    path, seen = tmp_path / "result.h5", []
    write_result(path, result, "a", lambda: seen.append(path.exists()))
    assert seen == [False]


@pytest.mark.parametrize("name", ["", "../../../../etc/passwd", "D" * 64, "d" * 63])
def test_a_digest_that_could_name_another_file_is_refused(
    tmp_path: Path, make_result: Callable[..., Result], name: str
) -> None:
    with pytest.raises(CorruptFileError, match="model_sha256 is no SHA-256"):
        write_result(tmp_path / "result.h5", make_result(model_sha256=name), "a", lambda: None)


def test_of_two_attempts_with_other_weights_each_result_has_its_own(
    tmp_path: Path, make_result: Callable[..., Result]
) -> None:
    """The second attempt overtakes the first between its weights and its result, as without locks."""
    task_dir = TaskDir(tmp_path)
    one, two = make_result(model_sha256="1" * 64), make_result(model_sha256="2" * 64)

    def overtaken() -> None:
        task_dir.model("1" * 64).write_text("1")
        assert write_result(task_dir.result, two, "b", lambda: None)
        task_dir.model("2" * 64).write_text("2")

    assert not write_result(task_dir.result, one, "a", overtaken)
    assert model_of(task_dir).read_text() == "2"
    task_dir.remove_leftovers(model_of(task_dir))
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"model.{'2' * 16}.pt", "result.h5"]


def test_without_its_weights_no_result_is_published(tmp_path: Path, result: Result) -> None:
    def full() -> None:
        raise MachineError("the disk is full")

    with pytest.raises(MachineError):
        write_result(tmp_path / "result.h5", result, "a", full)
    assert list(tmp_path.iterdir()) == []


def test_a_result_that_does_not_hold_together_is_not_published(
    tmp_path: Path, make_result: Callable[..., Result], make_cell: Callable[..., Cell]
) -> None:
    wrong = make_result(cell_id=make_cell(seed=1).id)
    with pytest.raises(Exception, match="cell_id"):
        write_result(tmp_path / "result.h5", wrong, "a", lambda: None)
    assert list(tmp_path.iterdir()) == []


WRITER = """
import dataclasses, sys
from pathlib import Path
from nllgen.storage.result import read_result, write_result
source, folder, me = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
result = read_result(source)
attrs = {k: v for k, v in result.attrs.items() if k not in ("schema", "science_sha256")} | {"host": me}
result = dataclasses.replace(result, attrs=attrs)
print("ready", flush=True)
sys.stdin.readline()
for i in range(20):
    if write_result(folder / f"{i}.h5", result, me, lambda: None):
        print(i, flush=True)
"""


def test_of_two_writers_at_once_exactly_one_publishes(tmp_path: Path, written: Path) -> None:
    won = {me: printed.split() for me, printed in zip("ab", race(WRITER, written, tmp_path), strict=True)}
    assert sorted(map(int, won["a"] + won["b"])) == list(range(20))
    assert all(read_attrs(tmp_path / f"{i}.h5")["host"] == me for me in "ab" for i in won[me])


@pytest.mark.parametrize("room_kb", [0, 4, 8])
def test_a_full_disk_leaves_no_result_and_no_crash(
    mount: Callable[..., Path], tmp_path: Path, written: Path, room_kb: Any
) -> None:
    """In a process of its own: HDF5 crashes, later, where its own write fails."""
    folder = mount("size=64k")
    (folder / "filler").write_bytes(bytes((64 - room_kb) * 1024))
    done = subprocess.run(
        [sys.executable, "-c", WRITER, str(written), str(folder), "a"], input="go\n", capture_output=True, text=True
    )
    assert "MachineError: cannot write" in done.stderr
    assert "free some space" in done.stderr
    assert (done.returncode, [path.name for path in folder.iterdir()]) == (1, ["filler"])


def test_a_head_with_a_number_that_no_result_has_is_refused(written: Path) -> None:
    """JSON bounds no number: one such file ended every command on its study."""
    content = written.read_bytes()[SIZE:]
    whole = read_head(written)
    for wrong in ({"attempts": math.inf}, {"attempts": math.nan}, {"dead_step": 10**400}, {"attempts": 10**400}):
        written.write_bytes(bytes(checksum_header(content, json.dumps(whole | wrong))) + content)
        with pytest.raises(CorruptFileError, match="a number that no result has"):
            read_head(written)


@pytest.mark.parametrize("value", [None, [], "fast"])
def test_a_head_with_another_kind_of_value_is_refused(written: Path, value: Any) -> None:
    head = read_head(written) | {"seconds_per_step": value}
    content = written.read_bytes()[SIZE:]
    written.write_bytes(bytes(checksum_header(content, json.dumps(head))) + content)
    with pytest.raises(CorruptFileError, match="seconds_per_step is missing or of another type"):
        read_head(written)


def same(one: Any, other: Any) -> Any:
    return all(
        np.array_equal(left[column], right[column], equal_nan=left[column].dtype.kind == "f")
        for name in TABLES
        for left, right in [(getattr(one, name), getattr(other, name))]
        for column in {*left, *right}
    ) and np.array_equal(one.samples, other.samples)
