from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from nllgen.errors import CorruptFileError, MachineError
from nllgen.storage.dataset import NUMBERS, Dataset, read_dataset, read_dataset_head, write_dataset
from nllgen.storage.schema import SPLITS

SIZES = {"train": 30, "val": 20, "test": 10}


@pytest.fixture
def dataset() -> Any:
    rng = np.random.default_rng(0)
    return Dataset(
        truth_id="0123456789abcdef",
        truth_sha256="t" * 64,
        x={split: rng.normal(size=(n, 1, 7, 7)).astype(np.float32) for split, n in SIZES.items()},
        log_prob={split: rng.normal(size=n) for split, n in SIZES.items()},
        numbers={name: float(i) for i, name in enumerate(NUMBERS)},
    )


@pytest.fixture
def path(tmp_path: Path, dataset: Any) -> Any:
    write_dataset(tmp_path / "dataset.h5", dataset)
    return tmp_path / "dataset.h5"


def test_what_is_read_is_what_was_written(path: Path, dataset: Any) -> None:
    found = read_dataset(path)
    assert (found.truth_id, found.truth_sha256, found.numbers) == (dataset.truth_id, "t" * 64, dataset.numbers)
    for split in SPLITS:
        np.testing.assert_array_equal(found.x[split], dataset.x[split])
        np.testing.assert_array_equal(found.log_prob[split], dataset.log_prob[split])


def test_densities_keep_their_64_bits(path: Path) -> None:
    found = read_dataset(path)
    assert (found.x["train"].dtype.name, found.log_prob["train"].dtype.name) == ("float32", "float64")


def test_a_block_of_the_training_split_is_read_alone(path: Path, dataset: Any) -> None:
    found = read_dataset(path, train_rows=slice(10, 20))
    np.testing.assert_array_equal(found.x["train"], dataset.x["train"][10:20])
    np.testing.assert_array_equal(found.log_prob["train"], dataset.log_prob["train"][10:20])
    assert found.sizes() == SIZES | {"train": 10}


def test_the_head_has_the_sizes_and_numbers(path: Path, dataset: Any) -> None:
    head = read_dataset_head(path)
    assert (head.sizes(), head.numbers, head.truth_id) == (SIZES, dataset.numbers, dataset.truth_id)


def test_every_dataset_has_its_unit(path: Path, units_in: Any) -> None:
    images, densities = ({f"{split}/{name}" for split in SPLITS} for name in ("x", "log_prob"))
    assert units_in(path) == dict.fromkeys(images, "logits") | dict.fromkeys(densities, "nats")


def test_every_attribute_of_the_contract_is_there(path: Path) -> None:
    with h5py.File(path) as file:
        assert {"schema", "truth_id", "truth_sha256", "entropy_nats", "entropy_se_nats"} <= set(file.attrs)


def test_a_larger_set_replaces_a_smaller_one(path: Path, dataset: Any) -> None:
    grown = {split: np.concatenate([x, x]) for split, x in dataset.x.items()}
    log_prob = {split: np.concatenate([x, x]) for split, x in dataset.log_prob.items()}
    write_dataset(path, replace(dataset, x=grown, log_prob=log_prob))
    assert read_dataset_head(path).sizes() == {split: 2 * n for split, n in SIZES.items()}


def test_images_and_densities_of_different_number_are_refused(path: Path, tamper: Any) -> None:
    def edit(file: Any) -> None:
        del file["val/log_prob"]
        file["val/log_prob"] = np.zeros(19)

    tamper(path, edit)
    with pytest.raises(CorruptFileError, match="val: images and log-densities do not fit"):
        read_dataset(path)


@pytest.mark.parametrize("kept", [0, 100, 512, 4000, -1])
def test_a_truncated_set_is_refused(path: Path, kept: Any) -> None:
    path.write_bytes(path.read_bytes()[:kept])
    for read in (read_dataset, read_dataset_head):
        with pytest.raises(CorruptFileError, match=r"dataset\.h5"):
            read(path)


def test_a_full_disk_leaves_the_old_set(mount: Callable[..., Path], dataset: Any) -> None:
    folder = mount("size=64k")
    write_dataset(folder / "dataset.h5", dataset)
    more = {split: np.random.default_rng(1).normal(size=(500, 1, 7, 7)) for split in SPLITS}
    log_prob = dict.fromkeys(SPLITS, np.zeros(500))
    with pytest.raises(MachineError, match="the disk is full"):
        write_dataset(folder / "dataset.h5", replace(dataset, x=more, log_prob=log_prob))
    assert [path.name for path in folder.iterdir()] == ["dataset.h5"]
    assert read_dataset(folder / "dataset.h5").sizes() == SIZES
