"""Draw a truth's data set, with the exact log-density of every image; a larger set begins with a smaller one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from nllgen.data.synthetic import CHUNK, draw_split, entropy
from nllgen.data.truth import Truth, load_truth
from nllgen.errors import ConfigError, CorruptFileError
from nllgen.models.realnvp import numerical_errors
from nllgen.storage.dataset import Dataset, read_dataset, write_dataset
from nllgen.storage.schema import SPLITS
from nllgen.study.config import DatasetConfig
from nllgen.train.streams import generator
from nllgen.worker.progress import Display, TaskProgress
from nllgen.worker.settings import Stop, echo, move_aside
from nllgen.worker.study_truth import study_truth

_CPU = torch.device("cpu")
_CHECKED = 64  # images of a data set whose numerical errors are measured


def draw_dataset(weights: Path, path: Path, config: DatasetConfig, stop: Stop, display: Display) -> None:
    """Draw the data set of a truth, or the missing part of it, on the CPU, so that no GPU decides its bits.

    Args:
        weights: truth.pt.
        path: dataset.h5; images that it holds already are kept.
        config: numbers of images; a split with more images keeps them all.
        stop: request to stop.
        display: shows the progress.

    Raises:
        ConfigError: the data set that exists was drawn from another truth.
        AssetError, CorruptFileError: the truth is missing or damaged.
        StoppedError: a stop was asked for; nothing was written.
    """
    truth = load_truth(weights, _CPU, study_truth(weights))
    old = _old_dataset(path)
    if old is not None and (old.truth_sha256, old.truth_id) != (truth.sha256, truth.id):
        raise ConfigError(
            f"{path} was drawn from another truth than {weights}",
            "rename it, for example to dataset.other.h5, and run the same again",
        )
    wanted = {"train": config.num_train, "val": config.num_val, "test": config.num_test}
    if old is not None:
        wanted = {split: max(wanted[split], size) for split, size in old.sizes().items()}
    if _covers(old, wanted):
        echo(f"already there: {path}")
        return
    total = sum(wanted.values()) + (0 if old else config.num_entropy)
    with stop.interruptible(), display("drawing synthetic MNIST", total) as update:
        drawn = _draw(truth, config, wanted, old, TaskProgress(update, total))
    if _covers(_old_dataset(path), wanted):  # the worker of a larger study was faster
        echo(f"already there: {path}")
        return
    write_dataset(path, drawn)
    echo(f"published: {path}")


def _covers(dataset: Dataset | None, wanted: dict[str, int]) -> bool:
    return dataset is not None and all(dataset.sizes()[split] >= wanted[split] for split in SPLITS)


def _old_dataset(path: Path) -> Dataset | None:
    """Return the data set that exists; move a damaged one aside."""
    if not path.exists():
        return None
    try:
        return read_dataset(path)
    except CorruptFileError as error:
        move_aside(path, str(error))
        return None


def _draw(
    truth: Truth, config: DatasetConfig, wanted: dict[str, int], old: Dataset | None, progress: TaskProgress
) -> Dataset:
    def chunk_generator(split: str, chunk: int) -> torch.Generator:
        return generator(_CPU, truth.cell.seed, "dataset", split, chunk)

    x, log_prob, worst = {}, {}, old.numbers["forward_inverse_nats"] if old else 0.0
    for split in SPLITS:
        # whole chunks of an older set are kept; they begin the larger one
        kept = min(len(old.x[split]), wanted[split]) // CHUNK * CHUNK if old else 0
        progress.add(kept)
        x[split], log_prob[split] = np.empty((0, *truth.cell.data.shape), np.float32), np.empty(0)
        if kept < wanted[split]:
            images, densities, error = draw_split(truth, split, kept, wanted[split], chunk_generator, progress.add)
            worst = max(worst, error)
            x[split], log_prob[split] = images.numpy(), densities.numpy()
        if old:
            x[split] = np.concatenate((old.x[split][:kept], x[split]))
            log_prob[split] = np.concatenate((old.log_prob[split][:kept], log_prob[split]))
    if old:
        return replace(old, x=x, log_prob=log_prob, numbers=old.numbers | {"forward_inverse_nats": worst})
    entropy_nats, entropy_se_nats = entropy(truth, config.num_entropy, chunk_generator, progress.add)
    fp_error, inverse_error = numerical_errors(truth.flow, torch.from_numpy(x["val"][:_CHECKED]))
    numbers = {
        "entropy_nats": entropy_nats,
        "entropy_se_nats": entropy_se_nats,
        "forward_inverse_nats": worst,
        "fp32_fp64_nats": fp_error,
        "inverse_error": inverse_error,
    }
    return Dataset(truth.id, truth.sha256, x, log_prob, numbers)
