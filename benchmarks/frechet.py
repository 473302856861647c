"""The Fréchet distance and Inception's features beside those of other packages, in one run."""

from __future__ import annotations

import hashlib
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from benchmarks.steps import median_seconds
from nllgen.metrics.frechet import frechet_distance, moments
from nllgen.metrics.inception import InceptionExtractor
from nllgen.study.hardware import num_cores
from nllgen.torchvision_ops import import_torchvision

Array = npt.NDArray[np.float64]
Moments = tuple[Array, Array]
NUM_IMAGES = 200  # Inception takes about a second for a dozen


def features(num: int, dim: int, seed: int, shift: float, dead: int) -> Moments:
    """Return moments of correlated, rectified features like those of Inception; the last ``dead`` are always 0."""
    generator = np.random.default_rng(seed)
    mixing = np.eye(dim) + 0.3 * np.random.default_rng(7).standard_normal((dim, dim)) / dim**0.5
    x = np.maximum(generator.standard_normal((num, dim)) @ mixing + shift, 0)
    x[:, dim - dead :] = 0
    return moments(x)


def peers() -> dict[str, Callable[[Moments, Moments], float]]:
    """Return each package's function from moments to the distance."""
    from pytorch_fid.fid_score import calculate_frechet_distance
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric
    from torchmetrics.image.fid import _compute_fid

    def fidelity(one: Moments, two: Moments) -> float:
        stats = [dict(zip(("mu", "sigma"), each, strict=True)) for each in (one, two)]
        return float(fid_statistics_to_metric(*stats, verbose=False)[KEY_METRIC_FID])

    return {
        "pytorch-fid": lambda one, two: float(calculate_frechet_distance(*one, *two)),
        "torch-fidelity": fidelity,
        "torchmetrics": lambda one, two: float(_compute_fid(*map(torch.from_numpy, (*one, *two)))),
    }


def compare(one: Moments, two: Moments, peer: Callable[[Moments, Moments], float]) -> tuple[float, float, float]:
    """Return seconds of nllgen (median of 3), seconds of the peer, and the relative difference of their distances."""
    our_s = median_seconds(lambda: frechet_distance(*one, *two), rounds=3)
    started = time.perf_counter()
    theirs = peer(one, two)
    their_s = time.perf_counter() - started
    return our_s, their_s, abs(frechet_distance(*one, *two) - theirs) / theirs


class InBf16(InceptionExtractor):
    """An extractor in bf16, tried and rejected: three times as fast, but the distance differs in its third digit."""

    def _forward(self, images: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16):
            return super()._forward(images).float()


def random_inception() -> dict[str, Tensor]:
    """Return random weights whose normalisations were fitted to noise; else all images have nearly equal features."""
    import_torchvision()
    from pytorch_fid import inception

    torch.manual_seed(0)
    with (
        patch.object(inception, "load_state_dict_from_url", lambda *_, **__: {}),
        patch.object(torch.nn.Module, "load_state_dict", lambda *_, **__: None),
    ):
        network: torch.nn.Module = inception.fid_inception_v3()
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = 1.0
    with torch.no_grad():
        network.train()(interpolate(2 * torch.rand(32, 3, 28, 28) - 1, (299, 299), mode="bilinear"))
    return network.state_dict()


def inception_rows(num: int = NUM_IMAGES) -> list[tuple[str, str, str]]:
    """Compare pytorch-fid's loop over image files with nllgen's over the same images and random weights."""
    from PIL import Image
    from pytorch_fid import inception
    from pytorch_fid.fid_score import get_activations

    with tempfile.TemporaryDirectory() as name:
        directory, generator = Path(name), torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (num, 1, 28, 28), generator=generator, dtype=torch.uint8)
        images[num // 2 :] = images[num // 2 :] // 2  # so that the two halves differ
        files = [directory / f"{i}.png" for i in range(num)]
        for file, image in zip(files, images, strict=True):
            Image.fromarray(image[0].numpy()).save(file)
        weights = directory / "random.pth"
        state = random_inception()
        torch.save(state, weights)
        with patch.object(inception, "load_state_dict_from_url", lambda *_, **__: state):
            theirs = inception.InceptionV3([inception.InceptionV3.BLOCK_INDEX_BY_DIM[2048]]).eval()
        sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
        ours = {"fp32": InceptionExtractor(weights, "cpu", sha256), "bf16 (rejected)": InBf16(weights, "cpu", sha256)}
        get = partial(get_activations, model=theirs, batch_size=50, num_workers=num_cores())
        works = {name: _of(each, images) for name, each in ours.items()} | {"theirs": lambda some: get(files[some])}
        return _inception(works, num)


def _of(extractor: InceptionExtractor, images: Tensor) -> Callable[[slice], Array]:
    return lambda some: extractor.features(images[some])


def _inception(works: dict[str, Callable[[slice], Array]], num: int) -> list[tuple[str, str, str]]:
    times: dict[str, list[float]] = {name: [] for name in works}
    feature_parts: dict[str, list[Array]] = {name: [] for name in works}
    for start in range(0, num, 50):
        for name, features_of in works.items():
            started = time.perf_counter()
            feature_parts[name].append(features_of(slice(start, start + 50)))
            times[name].append(time.perf_counter() - started)
    rate = {name: 50 / statistics.median(each[1:]) for name, each in times.items()}
    distance = {}
    for name, each in feature_parts.items():
        x = np.concatenate(each)
        distance[name] = frechet_distance(*moments(x[: num // 2]), *moments(x[num // 2 :]))
    rows = []
    for name in works:
        if name == "theirs":
            continue
        apart = abs(distance[name] / distance["theirs"] - 1)
        speed = f"{rate[name] / rate['theirs']:.1f}× pytorch-fid's loop"
        measured = f"{speed} ({rate[name]:.1f} images/s against {rate['theirs']:.1f}), distance differs {apart:.0e}"
        rows.append((f"Inception's features, {num} images 28×28, {name}", measured, "≥ 3×, 1e-3"))
    return rows


def rows(dim: int = 2048, num: int = 10_000) -> list[tuple[str, str, str]]:
    """Return rows of (work, measured, goal)."""
    import_torchvision()
    table = []
    cases = ((num, 0, "", "≥ 12×, 1e-6"), (num, dim // 16, f", {dim // 16} dead", ""), (dim // 2, 0, ", singular", ""))
    with warnings.catch_warnings():
        # pytorch-fid passes sqrtm an argument that scipy deprecates, and sqrtm complains about singular products
        warnings.simplefilter("ignore")
        for images, dead, note, goal in cases:
            one, two = (features(images, dim, seed, 0.3 + seed / 10, dead) for seed in (0, 1))
            for name, peer in peers().items():
                our_s, their_s, apart = compare(one, two, peer)
                measured = f"{their_s / our_s:.1f}× {name} ({our_s:.2f} s against {their_s:.1f} s), differs {apart:.0e}"
                table.append(
                    (
                        f"Fréchet distance, d = {dim}, N = {images:,}{note}",
                        measured,
                        goal if name == "pytorch-fid" else "—",
                    )
                )
        return [*table, *inception_rows()]
