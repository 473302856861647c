"""Draw a truth's data set, with the exact log-density of every image; a larger set begins with a smaller one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from nllgen.data.truth import Truth, load_truth
from nllgen.errors import ConfigError, CorruptFileError
from nllgen.models.realnvp import numerical_errors
from nllgen.storage.dataset import Dataset, read_dataset, write_dataset
from nllgen.storage.schema import SPLITS
from nllgen.storage.visibility import is_there
from nllgen.study.config import DatasetConfig
from nllgen.worker.drawing import ENTROPY, Drawing, partial_path
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
        StoppedError: a stop was asked for; what is drawn is kept, and the next time goes on there.
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
    wanted |= {} if old else {ENTROPY: config.num_entropy}
    total = sum(wanted.values())
    drawing = Drawing(truth, wanted, path, old)
    with display("drawing synthetic images", total) as update:
        drawing.run(TaskProgress(update, total), stop)
    with stop.interruptible():
        drawn = _finished(drawing, truth, old)
    if _covers(_old_dataset(path), wanted):  # the worker of a larger study was faster
        echo(f"already there: {path}")
        return
    write_dataset(path, drawn)
    partial_path(path).unlink(missing_ok=True)
    echo(f"published: {path}")


def _covers(dataset: Dataset | None, wanted: dict[str, int]) -> bool:
    return dataset is not None and all(dataset.sizes()[split] >= wanted[split] for split in SPLITS)


def _old_dataset(path: Path) -> Dataset | None:
    """Return the data set that exists; move a damaged one aside."""
    if not is_there(path):
        return None
    try:
        return read_dataset(path)
    except CorruptFileError as error:
        move_aside(path, str(error))
        return None


def _finished(drawing: Drawing, truth: Truth, old: Dataset | None) -> Dataset:
    """Return the data set that was drawn, with the entropy and the numerical errors of a new one."""
    x = drawing.images()
    log_prob = {split: values for split, values in drawing.densities().items() if split != ENTROPY}
    if old:
        numbers = old.numbers | {"forward_inverse_nats": drawing.forward_inverse_nats}
        return replace(old, x=x, log_prob=log_prob, numbers=numbers)
    entropy_nats, entropy_se_nats = drawing.entropy()
    fp_error, inverse_error = numerical_errors(truth.flow, torch.from_numpy(x["val"][:_CHECKED]))
    numbers = {
        "entropy_nats": entropy_nats,
        "entropy_se_nats": entropy_se_nats,
        "forward_inverse_nats": drawing.forward_inverse_nats,
        "fp32_fp64_nats": fp_error,
        "inverse_error": inverse_error,
    }
    return Dataset(truth.id, truth.sha256, x, log_prob, numbers)
