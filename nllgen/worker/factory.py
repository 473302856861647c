"""Factory of what a cell is trained and measured with: images, model, training state, evaluator."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from nllgen.data.logits import dequantise, from_logits, log_det_levels, to_logits, unclipped_pixels
from nllgen.data.published import load_published
from nllgen.data.sources import Dequantised, Finite, Fresh, Source
from nllgen.data.truth import Truth
from nllgen.errors import MADE_ANEW, AssetError, ConfigError
from nllgen.metrics.evaluate import Evaluator
from nllgen.metrics.features import Extractor
from nllgen.metrics.lenet import LeNetExtractor
from nllgen.metrics.measurement import EvalSet, References
from nllgen.models import Model, make_model
from nllgen.paradigms import make_paradigm
from nllgen.paradigms.base import Context
from nllgen.paradigms.guard import Guard
from nllgen.storage.dataset import Dataset
from nllgen.storage.visibility import is_there
from nllgen.study.config import Cell, MetricsConfig
from nllgen.study.image_files import read_images
from nllgen.study.lenets import domain_of, has_lenet
from nllgen.train.ema import EMA
from nllgen.train.precision import autocast
from nllgen.train.state import TrainState
from nllgen.train.streams import RandomStreams, generator, stream_seed

_INIT_BATCH = 256  # images that initialise ActNorm, the same under every paradigm
_HELD_OUT_SEED = 0  # of the noise on held-out images: every cell is measured on the same images


def run_seed(cell: Cell) -> int:
    """Return the seed of all random streams of a run.

    On synthetic data it differs from the truth's: otherwise a student with the truth's architecture and seed would
    start from the same weights as the truth did.
    """
    return stream_seed(cell.seed, "student") if cell.data.is_synthetic else cell.seed


MakeSource = Callable[[torch.Generator, torch.Generator], Source]


@dataclass(frozen=True)
class CellData:
    """Images of a cell.

    Attributes:
        make_source: (order, noise) → stream of training batches.
        sets: images on which densities are measured, by split.
        training: all training images, logits or uint8 levels; None where every batch is drawn anew.
    """

    make_source: MakeSource
    sets: dict[str, EvalSet]
    training: Tensor | None


def published_data(cell: Cell, metrics: MetricsConfig, directory: Path, device: torch.device) -> CellData:
    """Load a published set."""
    data = cell.data
    splits = load_published(directory, data.image_size, data.num_val, data.num_test, name=data.source)
    train = splits.train.images[: data.num_training]
    return _real_data(cell, metrics, {"train": train, "val": splits.val.images, "test": splits.test.images}, device)


def own_data(cell: Cell, metrics: MetricsConfig, path: Path, device: torch.device) -> CellData:
    """Load the user's own images from their copy in the study's directory.

    Raises:
        AssetError: the copy is missing, or other images are in it.
    """
    data, hint = cell.data, "submit the study again, which copies the images once more"
    assert data.num_training is not None
    if not is_there(path):
        raise AssetError(f"{path} is missing", hint)
    images = read_images(path)
    if images.sha256 != data.sha256:
        raise AssetError(f"{path} has the SHA-256 {images.sha256}, not {data.sha256}", f"rename it; {hint}")
    splits = images.splits(data.num_training, data.num_val, data.num_test)
    levels = {split: torch.from_numpy(part).permute(0, 3, 1, 2).contiguous() for split, part in splits.items()}
    return _real_data(cell, metrics, levels, device)


def _real_data(cell: Cell, metrics: MetricsConfig, images: Mapping[str, Tensor], device: torch.device) -> CellData:
    """Return data of uint8 levels (N, C, H, W) by split; what densities are measured on is dequantised once."""
    data, sets = cell.data, {}
    for split, levels in images.items():
        levels = levels[: metrics.num_train_eval] if split == "train" else levels
        noise = generator(torch.device("cpu"), _HELD_OUT_SEED, "held-out", split)  # the same bits on every device
        x = to_logits(dequantise(levels, noise), data.alpha).to(device)
        sets[split] = EvalSet(x, log_det=log_det_levels(x, data.alpha).cpu().numpy())
    on_device = images["train"].to(device)
    return CellData(lambda order, noise: Dequantised(on_device, order, noise, data.alpha), sets, on_device)


def synthetic_rows(cell: Cell) -> slice:
    """Return the rows of the training pool that a cell reads: seed k reads the k-th disjoint block."""
    if cell.data.num_train == "fresh":
        return slice(0, None)
    num_train = int(cell.data.num_train)
    return slice(cell.seed * num_train, (cell.seed + 1) * num_train)


def synthetic_data(
    cell: Cell, metrics: MetricsConfig, dataset: Dataset, truth: Truth, device: torch.device
) -> CellData:
    """Take a cell's images from the truth's data set.

    Args:
        cell: on synthetic data.
        metrics: numbers of images that are measured.
        dataset: with the training rows of :func:`synthetic_rows`.
        truth: the truth that drew the data set.
        device: device of the images.

    Raises:
        ConfigError: the data set was drawn from another truth or is too small.
    """
    if (dataset.truth_sha256, dataset.truth_id) != (truth.sha256, truth.id):
        raise ConfigError("the data set was drawn from another truth than truth.pt", MADE_ANEW)
    counts = {"train": metrics.num_train_eval, "val": cell.data.num_val, "test": cell.data.num_test}
    needed = {**counts, "train": 2 if cell.data.num_train == "fresh" else int(cell.data.num_train)}
    sizes = dataset.sizes()
    if short := [split for split in needed if sizes[split] < needed[split]]:
        raise ConfigError(
            f"the data set has too few images: {', '.join(f'{s} {sizes[s]} of {needed[s]}' for s in short)}",
            "raise dataset.num_train, num_val or num_test in the grid and submit it again: the set grows",
        )
    sets = {
        split: EvalSet(torch.from_numpy(dataset.x[split][:n]).to(device), log_p=dataset.log_prob[split][:n])
        for split, n in counts.items()
    }
    if cell.data.num_train == "fresh":
        return CellData(lambda _, noise: Fresh(truth.flow, noise), sets, None)
    images = torch.from_numpy(dataset.x["train"]).to(device)
    return CellData(lambda order, _: Finite(images, order), sets, images)


def make_flow(cell: Cell, truth: Truth | None, source: Source, device: torch.device) -> Model:
    """Make the model of step 0: with the truth's weights, or with random ones and ActNorm initialised from one batch.

    For one seed the model is the same to the bit under every paradigm.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(run_seed(cell), "weights"))
        flow = make_model(cell)
    flow.to(device)
    if cell.start == "truth":
        assert truth is not None
        flow.load_state_dict(truth.flow.state_dict())
        if cell.start_noise:
            perturb(flow, cell.start_noise, generator(torch.device("cpu"), run_seed(cell), "start_noise"))
    else:
        flow.initialise(source.next(_INIT_BATCH))
    return flow


@torch.no_grad()
def perturb(model: Model, scale: float, noise: torch.Generator) -> None:
    """Add normal noise to every array of parameters, of ``scale`` times the root mean square of its values."""
    for parameter in model.parameters():
        size = scale * parameter.square().mean().sqrt()
        drawn = torch.randn(parameter.shape, generator=noise, dtype=parameter.dtype)  # the same bits on every device
        parameter.add_(size * drawn.to(parameter.device))


def make_state(cell: Cell, data: CellData, truth: Truth | None, device: torch.device) -> TrainState:
    """Make the training state of step 0."""
    cpu, seed = torch.device("cpu"), run_seed(cell)
    first = data.make_source(generator(cpu, seed, "first", "order"), generator(device, seed, "first"))
    flow = make_flow(cell, truth, first, device)
    streams = RandomStreams(seed, device)
    alpha = cell.data.alpha
    context = Context(
        device=device,
        streams=streams,
        autocast=partial(autocast, cell.precision, device),
        to_pixels=partial(unclipped_pixels, alpha=alpha),
        max_logit=math.log((1 - alpha) / alpha),
        pretrain_batches=data.make_source(streams["pretrain_data"], streams["pretrain"]),
        truth=truth.flow if truth is not None and cell.data.is_synthetic else None,
        guard=Guard.of(device),
    )
    ema = EMA(flow, cell.paradigm.ema_decay) if cell.paradigm.ema_decay else None
    source = data.make_source(streams["data"], streams["noise"])
    paradigm = make_paradigm(cell.paradigm, flow, context)
    return TrainState(cell, truth.sha256 if truth else "", flow, paradigm, source, streams, ema)


def make_evaluator(
    cell: Cell,
    data: CellData,
    truth: Truth | None,
    metrics: MetricsConfig,
    extractors: tuple[Extractor, ...],
    device: torch.device,
) -> Evaluator:
    """Make the evaluator of a cell, which draws the same latents at every evaluation."""

    def latents(purpose: str) -> torch.Generator:
        return generator(device, run_seed(cell), "eval", purpose)

    def to_pixels(x: Tensor) -> Tensor:
        return from_logits(x, cell.data.alpha)

    known = truth.flow if truth is not None and cell.data.is_synthetic else None
    references = References(data.sets, known, extractors, metrics.samples_by_split, to_pixels, latents, data.training)
    domain = domain_of(cell.data, truth.cell if truth else None)
    chooser: Extractor | None = next((extractor for extractor in extractors if extractor.name == "lenet"), None)
    if chooser is None and has_lenet(domain):
        chooser = LeNetExtractor(device, domain.image_size, domain.source)
    groups = ("likelihood", *cell.groups_every(metrics)), ("likelihood", *metrics.final)
    return Evaluator(references, *groups, chooser)
