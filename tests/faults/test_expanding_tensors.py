"""Small archives of tensors that expand to gigabytes: refused in two seconds and one GiB, with and without torch."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nllgen.data.truth import load_tensors, to_bytes
from nllgen.storage.weights import weights_digest
from tests.faults.bounded import refused

pytestmark = pytest.mark.timeout(120)


def saved(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def repacked(content: bytes, method: int = zipfile.ZIP_STORED, **members: bytes) -> bytes:
    """Write an archive of torch again, with other members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(buffer, "w", method) as other:
        for name in archive.namelist():
            other.writestr(name, members.get(name.rpartition("/")[2], archive.read(name)))
    return buffer.getvalue()


def nested(depth: int, item: Any) -> Any:
    for _ in range(depth):
        item = [item, item]
    return item


def views(whole: torch.Tensor) -> dict[str, torch.Tensor]:
    return {str(number): whole[number:] for number in range(2**12)}


def with_memo(number: int) -> bytes:
    """Pickle an empty tuple that is remembered under a number: C's unpickler makes as many places."""
    return b"\x80\x02)r" + number.to_bytes(4, "little") + b"."


def with_bytes(number: int) -> bytes:
    """Pickle the call of a type with a size."""
    return b"\x80\x02}X\x07\x00\x00\x00weightscbuiltins\nbytearray\n(J" + number.to_bytes(4, "little") + b"tRs."


SMALL = saved({"weights": {"a": torch.zeros(4)}})
FILES: dict[str, Callable[[], bytes]] = {
    "a stride of 0": lambda: saved({"weights": {"a": torch.zeros(1).expand(2**30)}}),
    "many views of one storage": lambda: saved({"weights": views(torch.zeros(2**16))}),
    "windows of one storage": lambda: saved({"weights": {"a": torch.zeros(2**16).unfold(0, 2**15, 1)}}),
    "values that hold each other": lambda: saved({"weights": {"a": torch.zeros(4)}, "rows": nested(40, 0)}),
    "one long text many times": lambda: saved({"weights": {"a": torch.zeros(4)}, "rows": ["x" * 2**16] * 2**16}),
    "compressed members": lambda: repacked(saved({"weights": {"a": torch.zeros(2**26)}}), zipfile.ZIP_DEFLATED),
    "a storage that is smaller than it is said to be": lambda: repacked(SMALL, zipfile.ZIP_STORED, **{"0": b"\0" * 4}),
    "a storage that is not there": lambda: SMALL.replace(b"FloatStorage", b"LongStorage "),
    "a pickle with a large memo": lambda: repacked(SMALL, zipfile.ZIP_STORED, **{"data.pkl": with_memo(2**31)}),
    "a pickle that calls a type": lambda: repacked(SMALL, zipfile.ZIP_STORED, **{"data.pkl": with_bytes(2**31 - 1)}),
    "torch's older form": lambda: _older({"weights": {"a": torch.zeros(1).expand(2**30)}}),
}


def _older(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


@pytest.mark.parametrize("what", FILES)
def test_a_small_file_of_tensors_that_expands_is_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / "truth.pt"
    path.write_bytes(FILES[what]())
    assert path.stat().st_size < 2e6
    refused(lambda: load_tensors(path), "truth.pt")
    refused(lambda: weights_digest(path), "truth.pt")


def test_a_lie_about_the_size_of_a_member_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "truth.pt"
    content = bytearray(repacked(SMALL))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        start = archive.start_dir
    entry = content.index(b"/data/0", start) - 46 - len("archive")
    for field in (20, 24):  # compressed and whole size
        content[entry + field : entry + field + 4] = (2**31 - 1).to_bytes(4, "little")
    path.write_bytes(content)
    refused(lambda: load_tensors(path), "truth.pt")
    refused(lambda: weights_digest(path), "truth.pt")


def test_tensors_that_share_a_storage_are_read(tmp_path: Path) -> None:
    """As those of a model whose last weights are its best, or of a network that keeps its weights in one array."""
    path, flat = tmp_path / "model.pt", torch.arange(4096.0)
    parts = {str(n): flat[16 * n : 16 * n + 16].view(4, 4).T for n in range(256)}
    path.write_bytes(to_bytes({"weights": {"last": parts, "best": parts, "ema": {"a": torch.zeros(1).expand(3)}}}))
    read = load_tensors(path)["weights"]
    assert torch.equal(read["best"]["7"], parts["7"])
    assert len(weights_digest(path)) == 64


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.bfloat16, torch.float16, torch.complex64, torch.int8, torch.uint8, torch.bool]
)
def test_every_type_of_number_can_be_kept(tmp_path: Path, dtype: torch.dtype) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(to_bytes({"state": {"a": torch.ones(3).to(dtype), "shape": torch.Size([2, 3])}}))
    read = load_tensors(path)["state"]
    assert read["a"].dtype == dtype
    assert tuple(read["shape"]) == (2, 3)


def test_plain_pickles_are_no_archive(tmp_path: Path) -> None:
    path = tmp_path / "truth.pt"
    path.write_bytes(pickle.dumps({"weights": np.zeros(3)}))
    refused(lambda: load_tensors(path), "truth.pt")
