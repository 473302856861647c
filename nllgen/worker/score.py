"""Models made elsewhere against a truth of known density: from their log-densities, or from their samples."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from nllgen.data.logits import from_logits, log_det_levels, to_logits
from nllgen.data.truth import Truth, load_truth
from nllgen.errors import ConfigError
from nllgen.metrics.evaluate import Evaluator
from nllgen.metrics.exact import bits_per_dim, kl, log_densities, mean_and_se
from nllgen.metrics.features import Extractor
from nllgen.metrics.fixed_samples import FixedSamples
from nllgen.metrics.lenet import LeNetExtractor
from nllgen.metrics.measurement import EvalSet, References
from nllgen.storage.dataset import Dataset, read_dataset
from nllgen.storage.external import read_array
from nllgen.storage.study_dir import StudyDir
from nllgen.train.streams import generator

Space = Literal["logits", "pixels"]
GROUPS = ("frechet", "frechet_inf", "kid", "prdc", "critic")
_SEED = 0  # of what the metrics of images draw
_FEW = slice(0, 2)  # training rows, where the training split is not looked at


class TruthFiles(NamedTuple):
    """Where a truth lies."""

    weights: Path
    dataset: Path


def find_weights(path: Path) -> Path:
    """The truth.pt that a user means by its path, the folder that it lies in, or a study's folder.

    Raises:
        ConfigError: the study has no truth, or there is no such file.
    """
    if StudyDir(path).is_frozen:
        study = StudyDir(path).read_study()
        if study.truth is None:
            raise ConfigError(f"study {study.name} has no truth", "give a study on synthetic data, or a truth.pt")
        path = StudyDir(path).truth(study.truth.id).path
    return _there(path / "truth.pt" if path.is_dir() else path, "truth")


def _there(file: Path, what: str) -> Path:
    if not file.is_file():
        raise ConfigError(
            f"no {what} at {file}",
            "a truth is a truth.pt (to score, with its dataset.h5 beside it: `nllgen draw` makes one), their folder "
            "truths/<id>, or a study's folder",
        )
    return file


def find_truth(path: Path) -> TruthFiles:
    """The truth that a user means: truth.pt, the folder that it lies in, or a study's folder.

    Raises:
        ConfigError: there is none, or no dataset.h5 beside it.
    """
    weights = find_weights(path)
    return TruthFiles(weights, _there(weights.with_name("dataset.h5"), "data set of the truth"))


def score_log_probs(files: TruthFiles, path: Path, split: str) -> dict[str, Any]:
    """Exact divergence of a density q from its log-density at the rows of a split of the truth's data set.

    Args:
        files: of the truth.
        path: .npz or HDF5 with ``<split>/log_prob`` or ``log_prob``: (N,) nats, in logit space, in the order of the
            rows of the split in dataset.h5.
        split: train, val or test.

    Returns:
        Cross-entropy −E_p[log q], entropy and KL(p‖q) over the same images, each with its standard error, in nats, and
        in bits per dimension as those of real MNIST are. Where q gives an image no density at all (−∞), KL and
        cross-entropy are infinite.

    Raises:
        ConfigError: another truth's data set, another number of rows, or values that no log-density has.
        CorruptFileError: the file cannot be read.
    """
    train_rows = None if split == "train" else _FEW
    truth, dataset = _truth_and_dataset(files, torch.device("cpu"), train_rows)
    log_p, x = dataset.log_prob[split], torch.from_numpy(dataset.x[split])
    log_q = _log_probs(path, split, len(log_p))
    log_det = float(log_det_levels(x, truth.cell.data.alpha).mean())
    entropy = mean_and_se(-log_p)
    found: dict[str, Any] = _about(dataset, split) | {"num_zero_density": int(np.isneginf(log_q).sum())}
    with np.errstate(invalid="ignore"):
        cross_entropy, divergence = mean_and_se(-log_q), kl(log_p, log_q)
    # KL is a difference, which the same coordinates on both sides leave as it is
    for name, estimate, change in (
        ("cross_entropy", cross_entropy, log_det),
        ("entropy", entropy, log_det),
        ("kl", divergence, 0.0),
    ):
        found[f"{name}_nats"], found[f"{name}_se_nats"] = estimate
        found[f"{name}_bits_per_dim"] = bits_per_dim(estimate.value, change, x[0].numel())
    return found


def score_samples(files: TruthFiles, path: Path, space: Space, device: torch.device) -> dict[str, Any]:
    """Image metrics and the reverse cross-entropy of samples against the truth's test split.

    Args:
        files: of the truth.
        path: .npz or HDF5 with ``x`` or ``samples/x``: (n, C, H, W).
        space: ``logits``, or ``pixels`` in [0, 1] (uint8: levels 0…255), which have image metrics alone.
        device: where the truth and the networks are put.

    Returns:
        The columns of :data:`GROUPS` with their floors; −E_q[log p] with its standard error, nats, of logits.

    Raises:
        ConfigError: images of another shape, too few, not finite, or outside of their space.
        CorruptFileError: a file cannot be read.
    """
    truth, dataset = _truth_and_dataset(files, device, _FEW)
    images = _samples(path, space, truth).to(device)
    evaluator = _evaluator(truth, dataset, len(images), LeNetExtractor(device), device)
    found: dict[str, Any] = _about(dataset, "test") | {"space": space, "num_samples": len(images)}
    found["num_reference"] = len(dataset.x["test"])
    if space == "logits":
        found["reverse_cross_entropy_nats"], found["reverse_cross_entropy_se_nats"] = mean_and_se(
            -log_densities(truth.flow, images)
        )
        found["entropy_nats"], found["entropy_se_nats"] = (
            dataset.numbers["entropy_nats"],
            dataset.numbers["entropy_se_nats"],
        )
    return found | evaluator.measure_final(FixedSamples(images))


def _truth_and_dataset(files: TruthFiles, device: torch.device, train_rows: slice | None) -> tuple[Truth, Dataset]:
    truth, dataset = load_truth(files.weights, device), read_dataset(files.dataset, train_rows=train_rows)
    if dataset.truth_sha256 != truth.sha256:
        raise ConfigError(
            f"{files.dataset} was drawn from another truth than {files.weights}", "give one truth's folder"
        )
    return truth, dataset


def _about(dataset: Dataset, split: str) -> dict[str, Any]:
    return {
        "truth_id": dataset.truth_id,
        "truth_sha256": dataset.truth_sha256,
        "split": split,
        "num_images": len(dataset.log_prob[split]),
    }


def _log_probs(path: Path, split: str, num: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    values = read_array(path, (f"{split}/log_prob", "log_prob"), ndim=1).astype(np.float64)
    if len(values) != num:
        raise ConfigError(
            f"{path}: {len(values)} log-densities, the {split} split of the truth's data set has {num} images",
            "one for each row of the split, in its order; --split chooses another split",
        )
    wrong = np.flatnonzero(np.isnan(values) | np.isposinf(values))
    if len(wrong):
        raise ConfigError(
            f"{path}: {len(wrong)} log-densities are NaN or +inf, the first in row {wrong[0]}",
            "a log-density is a number, or −inf where the model excludes the image",
        )
    return values


def _samples(path: Path, space: Space, truth: Truth) -> torch.Tensor:
    """Images as float32 logits."""
    values, shape = read_array(path, ("x", "samples/x"), ndim=4), truth.cell.data.shape
    if values.shape[1:] != shape or len(values) < 2:
        raise ConfigError(
            f"{path}: images of shape {values.shape}, the truth's are (n, {', '.join(map(str, shape))})",
            "two or more images of the truth's channels, height and width",
        )
    levels = values.dtype == np.uint8
    if values.dtype.kind != "f" and not (levels and space == "pixels"):
        raise ConfigError(f"{path}: {space} of type {values.dtype}", "logits are floats; pixels are floats or uint8")
    images = torch.from_numpy(values.astype(np.float32))
    images = images / 255 if levels else images
    if not images.isfinite().all():
        raise ConfigError(f"{path}: some values are NaN or infinite", "leave those images out, and say so")
    external = bool(((images < 0) | (images > 1)).any())
    if space == "pixels" and external:
        raise ConfigError(f"{path}: pixels outside [0, 1]", "scale them, or say --space logits")
    if space == "logits" and not external:
        raise ConfigError(f"{path}: every value lies in [0, 1], as pixels do", "say --space pixels")
    return to_logits(images, truth.cell.data.alpha) if space == "pixels" else images


def _evaluator(truth: Truth, dataset: Dataset, num: int, extractor: Extractor, device: torch.device) -> Evaluator:
    sets = {
        split: EvalSet(torch.from_numpy(dataset.x[split]).to(device), log_p=dataset.log_prob[split])
        for split in ("val", "test")
    }
    to_pixels = partial(from_logits, alpha=truth.cell.data.alpha)
    num_samples = dict.fromkeys(sets, num)
    references = References(
        sets,
        truth.flow,
        (extractor,),
        num_samples,
        to_pixels,
        lambda purpose: generator(device, _SEED, "score", purpose),
    )
    return Evaluator(references, (), GROUPS)
