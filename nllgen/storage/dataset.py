"""dataset.h5: synthetic images in logit space with the truth's log-density of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from nllgen.storage.atomic import write_bytes
from nllgen.storage.checksum import with_checksum
from nllgen.storage.hdf5 import check_schema, find_dataset, get_array, has, number_attr, open_read, put_array, text_attr
from nllgen.storage.hdf5_data import Array
from nllgen.storage.schema import SCHEMA, SPLITS

NUMBERS = ("entropy_nats", "entropy_se_nats", "forward_inverse_nats", "fp32_fp64_nats", "inverse_error")


@dataclass(frozen=True)
class Dataset:
    """A synthetic data set.

    Attributes:
        truth_id: id of the truth's configuration.
        truth_sha256: digest of the truth's weights.
        x: split → (N, C, H, W) float32 logits.
        log_prob: split → (N,) float64 nats, the truth's.
        numbers: the entropy, its standard error and the numerical errors, in nats (``NUMBERS``).
    """

    truth_id: str
    truth_sha256: str
    x: dict[str, Array]
    log_prob: dict[str, Array]
    numbers: dict[str, float] = field(default_factory=dict)

    def sizes(self) -> dict[str, int]:
        """Return the number of images in each split."""
        return {split: len(self.x[split]) for split in SPLITS}


def write_dataset(path: Path, dataset: Dataset) -> None:
    """Write atomically. A larger set replaces a smaller one, which it begins with."""

    def fill(file: h5py.File) -> None:
        file.attrs["schema"] = SCHEMA
        file.attrs["truth_id"] = dataset.truth_id
        file.attrs["truth_sha256"] = dataset.truth_sha256
        for name in NUMBERS:
            file.attrs[name] = dataset.numbers[name]
        for split in SPLITS:
            put_array(file, f"{split}/x", dataset.x[split].astype(np.float32), "logits")
            put_array(file, f"{split}/log_prob", dataset.log_prob[split].astype(np.float64), "nats")

    write_bytes(path, with_checksum(fill))


def read_dataset(path: Path, *, train_rows: slice | None = None) -> Dataset:
    """Read and check a data set.

    Args:
        path: its file.
        train_rows: only these images of the training split.

    Raises:
        CorruptFileError: it is damaged or something else.
        SchemaError: it was written with another schema.
        MachineError: it cannot be read now.
    """
    with open_read(path) as file:
        check_schema(file, path)
        x, log_prob = {}, {}
        for split in SPLITS:
            rows = train_rows if split == "train" else None
            x[split] = get_array(file, f"{split}/x", ndim=4, kind="f", rows=rows)
            log_prob[split] = get_array(file, f"{split}/log_prob", ndim=1, kind="f", rows=rows)
            if len(x[split]) != len(log_prob[split]) or not np.isfinite(log_prob[split]).all():
                raise ValueError(f"{split}: images and log-densities do not fit together")
        numbers = {name: number_attr(file, name) for name in NUMBERS}
        return Dataset(text_attr(file, "truth_id"), text_attr(file, "truth_sha256"), x, log_prob, numbers)


def read_dataset_head(path: Path) -> Dataset:
    """Read the attributes and sizes without the images: arrays of the right length and no content (x is (N, 0)).

    Raises:
        CorruptFileError, SchemaError, MachineError: as :func:`read_dataset`.
    """
    with open_read(path) as file:
        check_schema(file, path)
        x, log_prob = {}, {}
        for split in SPLITS:
            item = find_dataset(file, f"{split}/x")
            if item.rank != 4:
                raise ValueError(f"{split}/x is not an array of images")
            x[split] = np.empty((item.shape[0], 0), dtype=np.float32)
            log_prob[split] = np.empty(0)
        numbers = {name: number_attr(file, name) for name in NUMBERS}
        return Dataset(text_attr(file, "truth_id"), text_attr(file, "truth_sha256"), x, log_prob, numbers)


@dataclass(frozen=True)
class PartialDataset:
    """The part of a data set that is drawn, while it is incomplete.

    Attributes:
        truth_sha256: digest of the truth's weights.
        x: split → (N, C, H, W) float32 logits.
        log_prob: split, or ``entropy`` for the draws whose images are not kept → (N,) float64 nats.
        forward_inverse_nats: largest difference of a density between the two directions.
    """

    truth_sha256: str
    x: dict[str, Array]
    log_prob: dict[str, Array]
    forward_inverse_nats: float


def write_partial(path: Path, partial: PartialDataset) -> None:
    """Write atomically what is drawn."""

    def fill(file: h5py.File) -> None:
        file.attrs["schema"] = SCHEMA
        file.attrs["truth_sha256"] = partial.truth_sha256
        file.attrs["forward_inverse_nats"] = partial.forward_inverse_nats
        for split, images in partial.x.items():
            put_array(file, f"{split}/x", images.astype(np.float32), "logits")
        for name, values in partial.log_prob.items():
            put_array(file, f"{name}/log_prob", values.astype(np.float64), "nats")

    write_bytes(path, with_checksum(fill))


def read_partial(path: Path) -> PartialDataset:
    """Read what is drawn.

    Raises:
        CorruptFileError, SchemaError, MachineError: as :func:`read_dataset`.
    """
    with open_read(path) as file:
        check_schema(file, path)
        x = {split: get_array(file, f"{split}/x", ndim=4, kind="f") for split in SPLITS}
        names = [name for name in (*SPLITS, "entropy") if has(file, name)]
        log_prob = {name: get_array(file, f"{name}/log_prob", ndim=1, kind="f") for name in names}
        if any(len(x[split]) != len(log_prob.get(split, ())) for split in SPLITS):
            raise ValueError("images and log-densities do not fit together")
        error = number_attr(file, "forward_inverse_nats")
        return PartialDataset(text_attr(file, "truth_sha256"), x, log_prob, error)
