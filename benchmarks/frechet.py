"""The Fréchet distance and Inception's features beside other packages', in one run."""

from __future__ import annotations

import hashlib
import os
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

from benchmarks.steps import median_seconds
from nllgen.metrics.frechet import frechet_distance, moments
from nllgen.metrics.inception import InceptionExtractor
from nllgen.torchvision_ops import import_torchvision

Array = npt.NDArray[np.float64]
Moments = tuple[Array, Array]
NUM_IMAGES = 200  # Inception sees about a dozen a second


def features(num: int, dim: int, seed: int, shift: float, dead: int) -> Moments:
    """Moments of correlated, rectified features, like those of Inception's pooling; the last ``dead`` are always 0."""
    generator = np.random.default_rng(seed)
    mixing = np.eye(dim) + 0.3 * np.random.default_rng(7).standard_normal((dim, dim)) / dim**0.5
    x = np.maximum(generator.standard_normal((num, dim)) @ mixing + shift, 0)
    x[:, dim - dead :] = 0
    return moments(x)


def peers() -> dict[str, Callable[[Moments, Moments], float]]:
    """The last step of each package's FID: from moments to the distance."""
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
    """Seconds of nllgen (median of 3), seconds of the peer, and the relative difference of their answers."""
    our_s = median_seconds(lambda: frechet_distance(*one, *two), rounds=3)
    started = time.perf_counter()
    theirs = peer(one, two)
    their_s = time.perf_counter() - started
    return our_s, their_s, abs(frechet_distance(*one, *two) - theirs) / theirs


def inception_row(num: int = NUM_IMAGES) -> tuple[str, str, str]:
    """pytorch-fid's own loop over image files, and ours over the same images, with the same random weights."""
    from PIL import Image
    from pytorch_fid import inception
    from pytorch_fid.fid_score import get_activations

    with tempfile.TemporaryDirectory() as name:
        folder, generator = Path(name), torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (num, 1, 28, 28), generator=generator, dtype=torch.uint8)
        files = [folder / f"{i}.png" for i in range(num)]
        for file, image in zip(files, images, strict=True):
            Image.fromarray(image[0].numpy()).save(file)
        weights = folder / "random.pth"
        with patch.object(inception, "load_state_dict_from_url", lambda *_, **__: {}):
            with patch.object(torch.nn.Module, "load_state_dict", lambda *_, **__: None):
                torch.manual_seed(0)
                state = inception.fid_inception_v3().state_dict()
            torch.save(state, weights)
        with patch.object(inception, "load_state_dict_from_url", lambda *_, **__: state):
            theirs = inception.InceptionV3([inception.InceptionV3.BLOCK_INDEX_BY_DIM[2048]]).eval()
        ours = InceptionExtractor(weights, "cpu", hashlib.sha256(weights.read_bytes()).hexdigest())
        get = partial(get_activations, model=theirs, batch_size=50, num_workers=len(os.sched_getaffinity(0)))
        return _inception(lambda some: ours.features(images[some]), lambda some: get(files[some]), num)


def _inception(ours: Callable[[slice], Array], theirs: Callable[[slice], Array], num: int) -> tuple[str, str, str]:
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    found: dict[str, list[Array]] = {"ours": [], "theirs": []}
    for start in range(0, num, 50):
        for name, features_of in (("ours", ours), ("theirs", theirs)):
            started = time.perf_counter()
            found[name].append(features_of(slice(start, start + 50)))
            times[name].append(time.perf_counter() - started)
    a, b = (statistics.median(times[name][1:]) for name in ("ours", "theirs"))
    distances = []
    for name in found:
        x = np.concatenate(found[name])
        distances.append(frechet_distance(*moments(x[: num // 2]), *moments(x[num // 2 :])))
    apart = abs(distances[0] - distances[1]) / distances[1]
    measured = (
        f"{b / a:.1f}× pytorch-fid's loop ({50 / a:.1f} images/s against {50 / b:.1f}), distance differs {apart:.0e}"
    )
    return f"Inception's features, {num} images 28×28, fp32", measured, "≥ 3×, 1e-3"


def rows(dim: int = 2048, num: int = 10_000) -> list[tuple[str, str, str]]:
    """(what, measured, reached for)."""
    import_torchvision()
    found = []
    cases = ((num, 0, "", "≥ 12×, 1e-6"), (num, dim // 16, f", {dim // 16} dead", ""), (dim // 2, 0, ", singular", ""))
    with warnings.catch_warnings():
        # pytorch-fid passes sqrtm an argument that scipy deprecates, and sqrtm complains about singular products
        warnings.simplefilter("ignore")
        for images, dead, note, goal in cases:
            one, two = (features(images, dim, seed, 0.3 + seed / 10, dead) for seed in (0, 1))
            for name, peer in peers().items():
                our_s, their_s, apart = compare(one, two, peer)
                measured = f"{their_s / our_s:.1f}× {name} ({our_s:.2f} s against {their_s:.1f} s), differs {apart:.0e}"
                found.append(
                    (
                        f"Fréchet distance, d = {dim}, N = {images:,}{note}",
                        measured,
                        goal if name == "pytorch-fid" else "—",
                    )
                )
        return [*found, inception_row()]
