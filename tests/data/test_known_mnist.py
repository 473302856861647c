"""The published truth of docs/benchmark: the numbers of its card agree with its weights, on MNIST and its own draws."""

from __future__ import annotations

import hashlib
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from nllgen import assets
from nllgen.data.logits import dequantise, from_logits, log_det_levels, to_logits
from nllgen.data.published import load_published
from nllgen.data.synthetic import draw
from nllgen.data.truth import Truth, load_truth
from nllgen.metrics.exact import bits_per_dim, log_densities, mean_and_se
from nllgen.metrics.lenet import LeNetExtractor
from nllgen.models.realnvp import numerical_errors
from nllgen.study.load import load_study
from tests.cli.pages import blocks

FOLDER = Path(__file__).parents[2] / "docs" / "benchmark"
CARD = " ".join((FOLDER / "README.md").read_text("utf-8").split())
NUM_DIMS = 784
MOST_BITS = 1.20


def told(pattern: str) -> list[float]:
    """Return the numbers of the card that match a pattern."""
    (found,) = re.findall(pattern, CARD)
    return [float(number.replace(",", "")) for number in ([found] if isinstance(found, str) else found)]


@pytest.fixture(scope="module")
def truth() -> Truth:
    return load_truth(FOLDER / "truth.pt", torch.device("cpu"))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Draw the data set of the card's recipe, with fewer images."""
    folder = tmp_path_factory.mktemp("known") / "known-mnist"
    folder.mkdir()
    shutil.copy(FOLDER / "truth.pt", folder)
    sizes = ["--num-train", "64", "--num-val", "64", "--num-test", "2000", "--num-entropy", "500", "--threads", "1"]
    subprocess.run([sys.executable, "-m", "nllgen", "draw", str(folder), *sizes], check=True, timeout=300)
    yield folder / "dataset.h5"
    shutil.rmtree(folder)


def test_it_is_the_truth_of_its_study_and_the_card_names_its_bytes(truth: Truth) -> None:
    assert truth.cell == load_study("known-mnist", precision="bf16").truth
    assert [sum(part.numel() for part in truth.flow.parameters())] == told(r"([\d,]+) parameters")
    paradigm = truth.cell.paradigm
    assert [paradigm.steps, paradigm.batch_size] == told(r"([\d,]+) steps of (\d+) images")
    assert truth.id in CARD
    assert truth.sha256 in CARD
    assert hashlib.sha256((FOLDER / "truth.pt").read_bytes()).hexdigest() in CARD


@pytest.mark.parametrize("split", ["val", "test"])
def test_its_bits_per_dimension_on_real_mnist_are_those_of_the_card(
    truth: Truth, mnist_assets: Path, split: str
) -> None:
    """The noise differs from the noise of the training's measurements."""
    levels = getattr(load_published(assets.require_images(mnist_assets, "mnist")), split).images
    assert len(levels) == 10_000
    x = to_logits(dequantise(levels, torch.Generator().manual_seed(1)), truth.cell.data.alpha)
    log_det = log_det_levels(x, truth.cell.data.alpha).numpy()
    log_q = log_densities(truth.flow, x)
    bits = bits_per_dim(-float(log_q.mean()), float(log_det.mean()), NUM_DIMS)
    assert bits <= MOST_BITS
    name = {"val": "validation", "test": "test"}[split]
    assert [bits] == pytest.approx(told(rf"\| bits per dimension, MNIST {name} \| ([\d.]+) \|"), abs=1e-3)


def test_its_entropy_is_that_of_the_card(truth: Truth) -> None:
    value, se = told(r"\| entropy of the truth, nats in logit space \| (-?[\d.]+) ± ([\d.]+) \|")
    x, log_p, _ = draw(truth, torch.Generator().manual_seed(1), 1000)
    found = mean_and_se(-log_p.double().numpy())
    assert abs(found.value - value) < 5 * math.hypot(found.se, se)
    assert se == pytest.approx(found.se * math.sqrt(1000 / 50_000), rel=0.2)
    log_det = log_det_levels(x, truth.cell.data.alpha).double().numpy()
    bits = mean_and_se(-(log_p.double().numpy() + log_det) / (NUM_DIMS * math.log(2)))
    (in_bits,) = told(r"\| the same in bits per dimension of images \| ([\d.]+) \|")
    assert abs(bits.value - in_bits) < 5 * bits.se


def test_its_densities_are_exact_to_what_the_card_says(truth: Truth) -> None:
    most_nats, most_logits = told(
        r"fp32 differs from fp64 by at most ([\d.]+) nats, and the inverse by ([\d.]+) in a logit"
    )
    (most_nats_drawing,) = told(r"summed up while drawing them by at most ([\d.]+) nats")
    x, log_p, from_sampling = draw(truth, torch.Generator().manual_seed(2), 64)
    nats, logits = numerical_errors(truth.flow, x)
    assert most_nats / 20 < nats < 2 * most_nats
    assert most_logits / 20 < logits < 2 * most_logits
    assert most_nats_drawing / 20 < float((log_p - from_sampling).abs().max()) < 2 * most_nats_drawing


def normal_draws(levels: torch.Tensor, alpha: float, n: int) -> torch.Tensor:
    """Draw pixels (n, 1, 28, 28) from a normal distribution with the mean and covariance of images' logits."""
    y = to_logits(dequantise(levels, torch.Generator().manual_seed(3)), alpha).flatten(1).double().numpy()
    normal = np.random.default_rng(3).multivariate_normal(y.mean(0), np.cov(y.T), n, method="cholesky")
    return from_logits(torch.from_numpy(normal).float(), alpha).view(n, 1, 28, 28)


def sureness(probs: torch.Tensor) -> tuple[float, float]:
    """Return the percentage of rows with a class above 0.9, and the Inception score (Salimans et al. 2016)."""
    marginal = probs.mean(0)
    kl = (torch.special.xlogy(probs, probs) - torch.special.xlogy(probs, marginal)).sum(1).mean()
    return 100 * float((probs.amax(1) > 0.9).double().mean()), float(kl.exp())


def test_a_classifier_takes_its_draws_for_digits(truth: Truth, mnist_assets: Path, drawn: Path) -> None:
    """The card counted more draws."""
    mnist, alpha = load_published(assets.require_images(mnist_assets, "mnist")), truth.cell.data.alpha
    with h5py.File(drawn) as data:
        x = torch.from_numpy(data["test/x"][:])
    images = {
        "a normal distribution": normal_draws(mnist.train.images[:10_000], alpha, len(x)),
        "draws": from_logits(x, alpha),
        "digits": mnist.test.images[: len(x)] / 255,
        "white noise": torch.rand(x.shape, generator=torch.Generator().manual_seed(0)),
    }
    network = LeNetExtractor("cpu").network
    with torch.no_grad():
        probs = {name: network(v).softmax(1).double() for name, v in images.items()}
    assert int(probs["draws"].argmax(1).bincount(minlength=10).min()) > len(x) / 50, "a digit is missing"
    for name, found in probs.items():
        sure, score = told(rf"\| {name}[^|]*\| ([\d.]+) % \| ([\d.]+) \|")
        found_sure, found_score = sureness(found)
        assert found_sure == pytest.approx(sure, abs=4), name
        assert found_score == pytest.approx(score, rel=0.05), name


def test_the_recipe_gives_what_the_card_shows(truth: Truth, drawn: Path, tmp_path: Path) -> None:
    (script,) = blocks(FOLDER / "README.md", "py")
    subprocess.run([sys.executable, "-c", script, drawn, tmp_path / "samples.png"], check=True, timeout=100)
    ours, theirs = (np.asarray(Image.open(folder / "samples.png"), dtype=int) for folder in (tmp_path, FOLDER))
    assert ours.shape == theirs.shape
    assert (np.abs(ours - theirs) > 2).mean() < 1e-3  # levels: another processor sums in another order
    with h5py.File(drawn) as data:
        log_p = log_densities(truth.flow, torch.from_numpy(data["test/x"][:]))
        np.testing.assert_allclose(data["test/log_prob"][:], log_p, atol=0.02)
        assert [data["test/log_prob"][:500].mean()] == pytest.approx(told(r"is not (-?[\d.]+) nats to 0.01"), abs=0.01)
