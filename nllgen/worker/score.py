"""Score models that were trained elsewhere against a truth of known density, by log-densities or samples."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from typing_extensions import override

from nllgen.data.logits import from_logits, log_det_levels, to_logits
from nllgen.data.truth import Truth, load_truth
from nllgen.errors import ConfigError
from nllgen.metrics.evaluate import Evaluator
from nllgen.metrics.exact import FloatArray, bits_per_dim, kl, log_densities, mean_and_se
from nllgen.metrics.lenet import LeNetExtractor
from nllgen.metrics.measurement import EvalSet, References
from nllgen.models import Model
from nllgen.storage.dataset import Dataset, read_dataset
from nllgen.storage.external import read_array
from nllgen.storage.study_dir import StudyDir
from nllgen.study.lenets import has_lenet
from nllgen.study.path_kinds import PathKind, not_weights, path_kind
from nllgen.train.streams import generator
from nllgen.worker.score_warnings import density_warning
from nllgen.worker.study_truth import study_truth

Space = Literal["logits", "pixels"]
GROUPS = ("frechet", "frechet_inf", "kid", "prdc", "critic")
_SEED = 0  # of the random streams of image metrics
_FEW = slice(0, 2)  # training rows that are read where the training split is not needed
_MAX_NAMED = 5  # rows in a message
_TRUTH_KINDS = (PathKind.TRUTH, PathKind.DIRECTORY, PathKind.WEIGHTS, PathKind.MISSING)
_FORMS = "pixels lie in [0, 1] or are uint8 levels; logits are those of the truth's own space"


class TruthFiles(NamedTuple):
    """Files of a truth."""

    weights: Path
    dataset: Path


def find_weights(path: Path) -> Path:
    """Find the truth.pt of a truth.

    Args:
        path: truth.pt, its folder, or a study's folder.

    Raises:
        ConfigError: the study has no truth, or there is no such file, or it is of another kind.
    """
    if StudyDir(path).is_frozen:
        study = StudyDir(path).read_study()
        if study.truth is None:
            raise ConfigError(f"study {study.name} has no truth", "use a study on synthetic data, or a truth.pt")
        path = StudyDir(path).truth(study.truth.id).path
    kind = path_kind(path)
    is_damaged = kind is PathKind.FILE and path.suffix == ".pt"  # loading says so
    if kind not in _TRUTH_KINDS and not is_damaged:
        raise not_weights(path)
    return _require_file(path / "truth.pt" if path.is_dir() else path, "truth")


def _require_file(file: Path, name: str) -> Path:
    if not file.is_file():
        raise ConfigError(
            f"no {name} at {file}",
            "name a truth.pt, its folder truths/<id>, or a study's folder; score needs a dataset.h5 beside truth.pt, "
            "which `nllgen draw` makes",
        )
    return file


def find_truth(path: Path) -> TruthFiles:
    """Find truth.pt (see :func:`find_weights`) and the dataset.h5 beside it.

    Raises:
        ConfigError: a file is missing, or the study has no truth.
    """
    weights = find_weights(path)
    return TruthFiles(weights, _require_file(weights.with_name("dataset.h5"), "data set of the truth"))


def score_log_probs(files: TruthFiles, path: Path, split: str) -> dict[str, Any]:
    """Measure the divergence of a density q from its log-densities on a split of the truth's data set.

    Args:
        files: files of the truth.
        path: .npz or HDF5 with ``<split>/log_prob`` or ``log_prob``: (N,) nats, in logit space, in the order of the
            split's rows in dataset.h5.
        split: train, val or test.

    Returns:
        Cross-entropy −E_p[log q], entropy and KL(p‖q) over the same images, each with its standard error, in nats and
        in bits per dimension as they are reported for MNIST. KL and cross-entropy are infinite where q has no density
        at an image (−∞). A ``warning`` where these numbers are impossible for a normalised density, or likely
        in bits or in another order.

    Raises:
        ConfigError: the data set was drawn from another truth, the number of rows is wrong, or a value cannot be a
            log-density.
        CorruptFileError: the file cannot be read.
    """
    train_rows = None if split == "train" else _FEW
    truth, dataset = _truth_and_dataset(files, torch.device("cpu"), train_rows)
    log_p, x = dataset.log_prob[split], torch.from_numpy(dataset.x[split])
    log_q = _log_probs(path, split, len(log_p))
    log_det = float(log_det_levels(x, truth.cell.data.alpha).mean())
    scores: dict[str, Any] = _about(dataset, split) | {"num_zero_density": int(np.isneginf(log_q).sum())}
    with np.errstate(invalid="ignore", over="ignore"):
        estimates = mean_and_se(-log_q), mean_and_se(-log_p), kl(log_p, log_q)
        warning = density_warning(log_p, log_q, estimates[-1])
    # KL is a difference: a change of coordinates cancels
    for name, estimate, change in zip(
        ("cross_entropy", "entropy", "kl"), estimates, (log_det, log_det, 0.0), strict=True
    ):
        scores[f"{name}_nats"], scores[f"{name}_se_nats"] = estimate
        scores[f"{name}_bits_per_dim"] = bits_per_dim(estimate.value, change, x[0].numel())
    return scores | ({"warning": warning} if warning else {})


def score_samples(files: TruthFiles, path: Path, space: Space, device: torch.device) -> dict[str, Any]:
    """Measure image metrics and the reverse cross-entropy of samples against the truth's test split.

    The samples are put into a random order first, so that metrics of a subset do not depend on that of the file.

    Args:
        files: files of the truth.
        path: .npz or HDF5 with ``x`` or ``samples/x``: (n, C, H, W).
        space: ``logits``, or ``pixels`` in [0, 1] (uint8: levels 0…255), for which only image metrics are measured.
        device: device of the truth and the networks.

    Returns:
        The columns of :data:`GROUPS` with their floors; for logits also −E_q[log p] with its standard error, nats.
        ``num_compared`` is the number of images of either side that prdc and critic use; the others use all.

    Raises:
        ConfigError: images have another shape, are too few, not finite, or outside of their space.
        CorruptFileError: a file cannot be read.
    """
    truth, dataset = _truth_and_dataset(files, device, _FEW)
    images = _samples(path, space, truth)
    order = torch.randperm(len(images), generator=generator(torch.device("cpu"), _SEED, "score", "order"))
    images, num_reference = images[order].to(device), len(dataset.x["test"])
    evaluator = _evaluator(truth, dataset, len(images), device)
    scores: dict[str, Any] = _about(dataset, "test") | {
        "space": space,
        "num_samples": len(images),
        "num_reference": num_reference,
        "num_compared": min(len(images), num_reference),
    }
    if space == "logits":
        with np.errstate(invalid="ignore", over="ignore"):
            reverse = mean_and_se(-log_densities(truth.flow, images))
        scores["reverse_cross_entropy_nats"], scores["reverse_cross_entropy_se_nats"] = reverse
        scores |= {name: dataset.numbers[name] for name in ("entropy_nats", "entropy_se_nats")}
    if (images == images[0]).all():
        scores["warning"] = "all images are the same"
    return scores | evaluator.measure_final(_FixedSamples(images))


def _truth_and_dataset(files: TruthFiles, device: torch.device, train_rows: slice | None) -> tuple[Truth, Dataset]:
    truth = load_truth(files.weights, device, study_truth(files.weights))
    dataset = read_dataset(files.dataset, train_rows=train_rows)
    if (dataset.truth_sha256, dataset.truth_id) != (truth.sha256, truth.id):
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


def _log_probs(path: Path, split: str, num: int) -> FloatArray:
    values = read_array(path, (f"{split}/log_prob", "log_prob"), ndim=1).astype(np.float64)
    if len(values) != num:
        raise ConfigError(
            f"{path}: {len(values)} log-densities, the {split} split of the truth's data set has {num} images",
            "give one for each row of the split, in its order; --split chooses another split",
        )
    wrong = np.flatnonzero(np.isnan(values) | np.isposinf(values))
    if len(wrong):
        raise ConfigError(
            f"{path}: {len(wrong)} log-densities are NaN or +inf: {_rows(wrong)}",
            "a log-density is a number, or −inf where the model excludes the image",
        )
    return values


def _rows(indices: np.ndarray[tuple[int], np.dtype[np.int64]]) -> str:
    named = ", ".join(str(index) for index in indices[:_MAX_NAMED])
    return f"row{'s' * (len(indices) > 1)} {named}{' …' * (len(indices) > _MAX_NAMED)}"


def _samples(path: Path, space: Space, truth: Truth) -> torch.Tensor:
    """Return images as float32 logits, (n, C, H, W)."""
    values, shape = read_array(path, ("x", "samples/x"), ndim=4), truth.cell.data.shape
    if values.shape[1:] != shape or len(values) < 2:
        raise ConfigError(
            f"{path}: images of shape {values.shape}, the truth's are (n, {', '.join(map(str, shape))})",
            "give two or more images of the truth's channels, height and width",
        )
    is_levels = values.dtype == np.uint8
    if values.dtype.kind != "f" and not (is_levels and space == "pixels"):
        raise ConfigError(f"{path}: {space} of type {values.dtype}", "logits are floats; pixels are floats or uint8")
    with np.errstate(over="ignore"):  # what is not finite is named below
        images = torch.from_numpy(values.astype(np.float32))
    images = images / 255 if is_levels else images
    _check_space(path, images, space)
    return to_logits(images, truth.cell.data.alpha) if space == "pixels" else images


def _check_space(path: Path, images: torch.Tensor, space: Space) -> None:
    wrong = np.flatnonzero(~images.isfinite().flatten(1).all(1).numpy())
    if len(wrong):
        raise ConfigError(
            f"{path}: {len(wrong)} images have values that are NaN or infinite: {_rows(wrong)}",
            "leave those images out, and say so",
        )
    smallest, largest = float(images.min()), float(images.max())
    form = _pixel_form(smallest, largest)
    if space == "logits" and form:
        raise ConfigError(f"{path}: every value lies in {form[0]}", form[1])
    if space == "pixels" and not 0 <= smallest <= largest <= 1:
        hint = form[1] if form else f"use --space logits if they are logits; {_FORMS}"
        raise ConfigError(f"{path}: pixels from {smallest:.4g} to {largest:.4g}, outside [0, 1]", hint)


def _pixel_form(smallest: float, largest: float) -> tuple[str, str] | None:
    """Return the form of pixels that values of this range have, and how to score it; None for logits."""
    if smallest >= 0:
        if largest <= 1:
            return "[0, 1], as pixels do", "use --space pixels"
        if largest <= 255:
            return "0…255, as levels do", "write x / 255 or uint8, and use --space pixels"
        if largest <= 256:
            return "0…256, as dequantised levels do", "write x / 256 and use --space pixels"
        return f"0…{largest:.4g}: logits are below 0 where a pixel is darker than a half", _FORMS
    if smallest >= -0.5 and largest <= 0.5:
        return "[−½, ½], as centred pixels do", "write x + 0.5 and use --space pixels"
    if smallest >= -1 and largest <= 1:
        return "[−1, 1], as scaled pixels do", "write (x + 1) / 2 and use --space pixels"
    return None


def _evaluator(truth: Truth, dataset: Dataset, num: int, device: torch.device) -> Evaluator:
    sets = {
        split: EvalSet(torch.from_numpy(dataset.x[split]).to(device), log_p=dataset.log_prob[split])
        for split in ("val", "test")
    }
    to_pixels = partial(from_logits, alpha=truth.cell.data.alpha)
    data, streams = truth.cell.data, partial(generator, device, _SEED, "score")
    extractors = (LeNetExtractor(device, data.image_size, data.source),) if has_lenet(data) else ()
    return Evaluator(References(sets, truth.flow, extractors, dict.fromkeys(sets, num), to_pixels, streams), (), GROUPS)


class _FixedSamples(Model):
    """A model known only by its samples (n, C, H, W), logits, which it returns in order."""

    def __init__(self, images: torch.Tensor):
        super().__init__()
        self._images = images
        self._position = 0

    @override
    def sample(self, n: int, generator: torch.Generator | None = None) -> torch.Tensor:
        images = self._images[self._position : self._position + n]
        assert len(images) == n
        self._position += n
        return images
