"""Log-densities and samples made elsewhere, against a truth whose density is known."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from nllgen.cli.measure_commands import print_scores, score_files
from nllgen.cli.output import finite
from nllgen.data.logits import from_logits
from nllgen.data.truth import load_truth, truth_bytes
from nllgen.errors import ConfigError
from nllgen.metrics.exact import log_densities
from nllgen.models import RealNVP
from nllgen.storage.dataset import NUMBERS, Dataset, read_dataset, write_dataset
from nllgen.study.config import Cell, DataConfig, FlowConfig
from nllgen.worker.score import Space
from tests.arrays import npz

CPU = torch.device("cpu")
N = 400


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with truth.pt and dataset.h5."""
    folder = tmp_path_factory.mktemp("truth")
    flow_config = FlowConfig(shape=(1, 14, 14), width=2, blocks=0, scales=1)
    cell = Cell(data=DataConfig(image_size=14), flow=flow_config)
    torch.manual_seed(0)
    flow = RealNVP(flow_config).requires_grad_(False)
    for parameter in flow.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    (folder / "truth.pt").write_bytes(truth_bytes(cell, flow.state_dict()))
    loaded = load_truth(folder / "truth.pt", CPU)
    x = {split: flow.sample(N, torch.Generator().manual_seed(i)) for i, split in enumerate(("train", "val", "test"))}
    log_prob = {split: log_densities(flow, images) for split, images in x.items()}
    numbers = dict.fromkeys(NUMBERS, 1.0) | {"entropy_nats": -float(log_prob["val"].mean()), "entropy_se_nats": 0.3}
    images = {split: part.numpy() for split, part in x.items()}
    write_dataset(folder / "dataset.h5", Dataset(cell.id, loaded.sha256, images, log_prob, numbers))
    return folder


@pytest.fixture(scope="module")
def flow(truth: Path) -> RealNVP:
    return load_truth(truth / "truth.pt", CPU).flow


@pytest.fixture(scope="module")
def dataset(truth: Path) -> Dataset:
    return read_dataset(truth / "dataset.h5")


def densities(truth: Path, path: Path, split: str = "test") -> dict[str, Any]:
    return score_files(truth, None, path, split, "logits", "cpu")


def images(truth: Path, path: Path, space: Space = "logits") -> dict[str, Any]:
    return score_files(truth, path, None, "test", space, "cpu")


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_the_truth_has_no_divergence_from_itself(truth: Path, split: str) -> None:
    found = densities(truth, truth / "dataset.h5", split)
    assert (found["kl_nats"], found["kl_se_nats"]) == (0, 0)
    assert found["cross_entropy_nats"] == found["entropy_nats"]
    assert found["num_images"] == N


def test_a_shifted_truth_has_its_known_divergence(truth: Path, flow: RealNVP, dataset: Dataset, tmp_path: Path) -> None:
    """q is the truth with latents z − δ: log q − log p = zᵀδ − ½δᵀδ, and KL(p‖q) = ½ δᵀδ exactly in expectation."""
    shift = 0.1
    x = torch.from_numpy(dataset.x["test"])
    with torch.no_grad():
        z, log_det = flow.forward(x)
        log_q = flow.base_log_prob(z - shift) + log_det
    found = densities(truth, npz(tmp_path, log_prob=log_q.numpy()))
    expected = 0.5 * 196 * shift**2
    assert abs(found["kl_nats"] - expected) < 4 * found["kl_se_nats"]
    assert found["kl_se_nats"] == pytest.approx(shift * 14 / math.sqrt(N), rel=0.2)
    assert found["kl_nats"] == pytest.approx((dataset.log_prob["test"] - log_q.numpy()).mean(), rel=1e-12)


def test_a_constant_is_the_divergence_itself_in_nats_and_bits(truth: Path, dataset: Dataset, tmp_path: Path) -> None:
    found = densities(truth, npz(tmp_path, log_prob=dataset.log_prob["test"] - 2.5))
    assert found["kl_nats"] == pytest.approx(2.5)
    assert found["kl_bits_per_dim"] == pytest.approx(2.5 / (196 * math.log(2)))
    assert found["cross_entropy_nats"] == pytest.approx(found["entropy_nats"] + 2.5)


def test_bits_per_dimension_are_those_of_the_density_of_levels(truth: Path, dataset: Dataset, tmp_path: Path) -> None:
    """A q that is uniform over the levels 0…256 has 8 bits per dimension, by the Jacobian of levels → logits."""
    y = torch.from_numpy(dataset.x["test"]).double().requires_grad_()
    levels = 256 * (torch.sigmoid(y) - 1e-6) / (1 - 2e-6)
    (slope,) = torch.autograd.grad(levels.sum(), y)
    log_q = (slope / 256).log().flatten(1).sum(1)
    found = densities(truth, npz(tmp_path, log_prob=log_q.numpy()))
    assert found["cross_entropy_bits_per_dim"] == pytest.approx(8)
    assert found["kl_bits_per_dim"] == pytest.approx(8 - found["entropy_bits_per_dim"])


def test_densities_beside_another_truth_are_refused(truth: Path, tmp_path: Path) -> None:
    content = torch.load(truth / "truth.pt", weights_only=True)
    name, weights = next(iter(content["weights"].items()))
    content["weights"][name] = weights + 1
    cell = Cell.model_validate_json(content["cell"])
    (tmp_path / "truth.pt").write_bytes(truth_bytes(cell, content["weights"]))
    (tmp_path / "dataset.h5").write_bytes((truth / "dataset.h5").read_bytes())
    with pytest.raises(ConfigError, match="another truth"):
        densities(tmp_path, tmp_path / "dataset.h5")


def test_an_image_that_q_excludes_makes_the_divergence_infinite(truth: Path, dataset: Dataset, tmp_path: Path) -> None:
    log_q = dataset.log_prob["test"].copy()
    log_q[[3, 7]] = -np.inf
    found = densities(truth, npz(tmp_path, log_prob=log_q))
    assert found["kl_nats"] == math.inf
    assert found["num_zero_density"] == 2
    assert finite(found["kl_nats"]) is None


@pytest.mark.parametrize("key", ["log_prob", "val/log_prob"])
def test_npz_and_hdf5_hold_the_same(truth: Path, dataset: Dataset, tmp_path: Path, key: str) -> None:
    log_q = dataset.log_prob["val"] - 1
    with h5py.File(tmp_path / "mine.h5", "w") as file:
        file[key] = log_q
    found = densities(truth, tmp_path / "mine.h5", "val")
    assert found == densities(truth, npz(tmp_path, **{key: log_q}), "val")
    assert found["kl_nats"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda v: v[:-1], "399 log-densities, the test split of the truth's data set has 400"),
        (lambda v: np.where(np.arange(N) == 5, np.nan, v), "1 log-densities are NaN or .inf: row 5$"),
        (lambda v: np.where(np.arange(N) > 397, np.inf, v), "2 log-densities are NaN or .inf: rows 398, 399$"),
        (lambda v: np.full(N, np.nan), "rows 0, 1, 2, 3, 4 …$"),
    ],
)
def test_log_densities_that_do_not_fit_are_refused(
    truth: Path, dataset: Dataset, tmp_path: Path, edit: Callable[[np.ndarray], np.ndarray], reason: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        densities(truth, npz(tmp_path, log_prob=edit(dataset.log_prob["test"])))
    assert re.search(reason, caught.value.message)


@pytest.mark.parametrize(
    ("edit", "warning"),
    [
        (lambda log_p: log_p + 0.1, "no normalised density"),  # exactly impossible: no standard error
        (lambda log_p: -log_p, "sign?"),
        (lambda log_p: log_p / 784, "nats or bits?"),
        (lambda log_p: np.full(N, log_p.mean() - 1), "a constant"),
        (lambda log_p: log_p + np.where(np.arange(N) % 2, 1.0, -1.0) + 0.2, ""),  # 0.2 ± 0.05 below 0
        (lambda log_p: log_p + np.where(np.arange(N) % 2, 1.0, -1.0) + 0.3, "a KL below 0 by more than 5"),
        (lambda log_p: np.where(np.arange(N) % 2, 1e308, log_p), "a KL below 0 by more than 5"),  # −inf ± inf
        (lambda log_p: log_p - 3, ""),
        (lambda log_p: log_p / math.log(2), "multiply by ln 2"),
        (lambda log_p: 1.4427 * log_p.mean() + (log_p - log_p.mean()), ""),  # a poor model, not one in bits
        (lambda log_p: np.random.default_rng(0).permutation(log_p) - 3, "the order of dataset.h5"),
        (lambda log_p: np.where(np.arange(N) == 5, -np.inf, log_p), ""),
    ],
)
def test_a_result_that_is_impossible_is_said(
    truth: Path, dataset: Dataset, tmp_path: Path, edit: Callable[[np.ndarray], np.ndarray], warning: str
) -> None:
    assert dataset.log_prob["test"].mean() < -10  # so that a wrong sign and a wrong unit give densities too large
    scores = densities(truth, npz(tmp_path, log_prob=edit(dataset.log_prob["test"])))
    assert warning in scores["warning"] if warning else "warning" not in scores
    print_scores(scores)
    json.dumps({name: finite(value) for name, value in scores.items()}, allow_nan=False)


def test_samples_of_the_truth_score_as_the_truth(truth: Path, flow: RealNVP, tmp_path: Path) -> None:
    x = flow.sample(N, torch.Generator().manual_seed(9)).numpy()
    found = images(truth, npz(tmp_path, x=x))
    se = math.hypot(found["reverse_cross_entropy_se_nats"], found["entropy_se_nats"])
    assert abs(found["reverse_cross_entropy_nats"] - found["entropy_nats"]) < 4 * se
    assert found["frechet_lenet"] < 4 * found["frechet_floor_lenet"]
    assert found["coverage_lenet"] == pytest.approx(1 - 2**-5, abs=0.05)


def test_the_test_images_themselves_are_at_distance_0(truth: Path, dataset: Dataset, tmp_path: Path) -> None:
    found = images(truth, npz(tmp_path, x=dataset.x["test"]))
    assert found["frechet_lenet"] < 1e-3 * found["frechet_floor_lenet"]
    assert (found["precision_lenet"], found["recall_lenet"], found["coverage_lenet"]) == (1, 1, 1)
    assert found["reverse_cross_entropy_nats"] == pytest.approx(-dataset.log_prob["test"].mean(), abs=1e-4)


def test_the_order_of_the_rows_does_not_decide_a_metric_of_a_subset(truth: Path, flow: RealNVP, tmp_path: Path) -> None:
    """Half of twice as many samples are noise: precision and density compare a random half, not the first."""
    good = flow.sample(N, torch.Generator().manual_seed(9)).numpy()
    noise = 8 * np.random.default_rng(0).standard_normal(good.shape).astype(np.float32)
    first, last = (images(truth, npz(tmp_path, x=np.concatenate(x))) for x in ((good, noise), (noise, good)))
    assert (first["num_samples"], first["num_reference"], first["num_compared"]) == (2 * N, N, N)
    for name in ("precision_lenet", "density_lenet", "coverage_lenet"):
        assert first[name] == pytest.approx(last[name], abs=0.12)
    assert 0.3 < first["precision_lenet"] < 0.65


def test_a_single_image_many_times_is_said(truth: Path, flow: RealNVP, tmp_path: Path) -> None:
    one = flow.sample(1, torch.Generator().manual_seed(9)).numpy()
    assert images(truth, npz(tmp_path, x=np.repeat(one, N, axis=0)))["warning"] == "all images are the same"


def test_noise_is_far_away(truth: Path, tmp_path: Path) -> None:
    x = 8 * np.random.default_rng(0).standard_normal((N, 1, 14, 14)).astype(np.float32)
    found = images(truth, npz(tmp_path, x=x))
    assert found["frechet_lenet"] > 5 * found["frechet_floor_lenet"]
    assert found["reverse_cross_entropy_nats"] > found["entropy_nats"] + 100


def test_pixels_have_the_image_metrics_of_their_logits(truth: Path, flow: RealNVP, tmp_path: Path) -> None:
    x = flow.sample(N, torch.Generator().manual_seed(9))
    by_logits = images(truth, npz(tmp_path, x=x.numpy()))
    by_pixels = images(truth, npz(tmp_path, x=from_logits(x, 1e-6).double().numpy()), "pixels")
    assert "reverse_cross_entropy_nats" not in by_pixels
    assert by_pixels["frechet_lenet"] == pytest.approx(by_logits["frechet_lenet"], rel=1e-2)


def test_levels_are_pixels(truth: Path, tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (N, 1, 14, 14)).astype(np.uint8)
    by_levels = images(truth, npz(tmp_path, x=levels), "pixels")
    by_pixels = images(truth, npz(tmp_path, x=levels / 255.0), "pixels")
    assert by_levels["kid_lenet"] == pytest.approx(by_pixels["kid_lenet"], rel=1e-6)


@pytest.mark.parametrize(
    ("x", "space", "reason"),
    [
        (np.ones((5, 1, 8, 8), np.float32), "logits", "the truth's are"),
        (np.ones((1, 1, 14, 14), np.float32), "logits", "two or more"),
        (
            np.full((5, 1, 14, 14), np.nan, np.float32),
            "logits",
            "5 images have values that are NaN or infinite: rows 0",
        ),
        (np.where(np.arange(5) == 3, np.inf, np.ones((14, 14, 1, 5))).T, "logits", "row 3"),
        (
            np.linspace(-1, 1, 980).reshape(5, 1, 14, 14),
            "logits",
            "[−1, 1], as scaled pixels do\n  → write (x + 1)",
        ),
        (np.linspace(-1, 1, 980).reshape(5, 1, 14, 14), "pixels", "outside [0, 1]\n  → write (x + 1) / 2"),
        (np.linspace(0, 255, 980).reshape(5, 1, 14, 14), "logits", "0…255, as levels do\n  → write x / 255"),
        (np.linspace(0, 255, 980).reshape(5, 1, 14, 14), "pixels", "outside [0, 1]\n  → write x / 255"),
        (np.linspace(-14, 14, 980).reshape(5, 1, 14, 14), "pixels", "outside [0, 1]\n  → use --space logits"),
        (np.linspace(0, 255.9, 980).reshape(5, 1, 14, 14), "logits", "dequantised levels do\n  → write x / 256"),
        (np.linspace(0, 255.9, 980).reshape(5, 1, 14, 14), "pixels", "outside [0, 1]\n  → write x / 256"),
        (np.linspace(0, 1e3, 980).reshape(5, 1, 14, 14), "logits", "logits are below 0"),
        (np.linspace(-0.5, 0.5, 980).reshape(5, 1, 14, 14), "pixels", "outside [0, 1]\n  → write x + 0.5"),
        (np.linspace(-0.42, 2.82, 980).reshape(5, 1, 14, 14), "pixels", "if they are logits; pixels lie in [0, 1]"),
        (np.full((5, 1, 14, 14), 0.5, np.float32), "logits", "use --space pixels"),
        (np.full((5, 1, 14, 14), 5.0, np.float32), "pixels", "outside"),
        (np.zeros((5, 1, 14, 14), np.uint8), "logits", "logits are floats"),
    ],
)
def test_images_that_do_not_fit_are_refused(
    truth: Path, tmp_path: Path, x: np.ndarray, space: Space, reason: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        images(truth, npz(tmp_path, x=x), space)
    assert reason in str(caught.value)


@pytest.mark.parametrize("name", ["truth.pt", ""])
def test_a_truth_is_its_file_or_its_folder(truth: Path, name: str) -> None:
    assert densities(truth / name, truth / "dataset.h5")["kl_nats"] == 0


def test_a_missing_truth_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no truth at"):
        densities(tmp_path, tmp_path / "x.npz")


def test_either_samples_or_log_densities(truth: Path, tmp_path: Path) -> None:
    for both in (None, tmp_path):
        with pytest.raises(ConfigError, match="either"):
            score_files(truth, both, both, "test", "logits", "cpu")


def test_what_is_shown_has_values_with_their_errors(truth: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_scores(densities(truth, truth / "dataset.h5"))
    lines = capsys.readouterr().out.splitlines()
    assert "kl_nats                      0 ± 0" in lines
    assert not any("_se_" in line for line in lines)
