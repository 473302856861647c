"""Initial weights: the truth's own, and with noise on them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from nllgen.data.sources import Source
from nllgen.data.truth import Truth, load_truth
from nllgen.models import RealNVP
from nllgen.storage.study_dir import StudyDir
from nllgen.study.config import Cell, NSGANConfig, Study
from nllgen.worker.factory import make_flow, perturb

CPU = torch.device("cpu")


class NoSource(Source):
    """A source that must not be asked: weights of the truth need no batch."""

    def next(self, n: int) -> torch.Tensor:
        raise AssertionError(f"asked for {n} images")

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


@pytest.fixture(scope="module")
def truth(done: StudyDir, study: Study) -> Truth:
    assert study.truth is not None
    return load_truth(done.truth_weights(study.truth.id), CPU, study.truth)


@pytest.fixture(scope="module")
def at_truth(study: Study) -> Cell:
    return next(cell for cell in study.cells if isinstance(cell.paradigm, NSGANConfig))


def started(cell: Cell, truth: Truth, **changes: Any) -> RealNVP:
    flow = make_flow(Cell.model_validate(cell.model_dump() | changes), truth, NoSource(), CPU)
    assert isinstance(flow, RealNVP)
    return flow


def test_a_start_without_noise_is_the_truth_to_the_bit(at_truth: Cell, truth: Truth) -> None:
    flow = started(at_truth, truth)
    assert all(
        torch.equal(a, b) for a, b in zip(flow.state_dict().values(), truth.flow.state_dict().values(), strict=True)
    )


def test_noise_is_a_share_of_the_size_of_each_array(truth: Truth) -> None:
    flow = RealNVP(truth.cell.real_nvp)
    flow.load_state_dict(truth.flow.state_dict())
    perturb(flow, 0.1, torch.Generator().manual_seed(0))
    for new, old in zip(flow.parameters(), truth.flow.parameters(), strict=True):
        if new.numel() > 500:
            assert float((new - old).square().mean().sqrt() / old.square().mean().sqrt()) == pytest.approx(
                0.1, rel=0.15
            )


def test_noise_moves_the_model_off_the_truth_and_follows_the_seed(at_truth: Cell, truth: Truth) -> None:
    x = truth.flow.sample(64, torch.Generator().manual_seed(0))
    first, same, other = (started(at_truth, truth, start_noise=0.05, seed=seed) for seed in (3, 3, 4))
    kl = float((truth.flow.log_prob(x) - first.log_prob(x)).mean().detach())
    assert kl > 0.1
    assert torch.equal(first.log_prob(x), same.log_prob(x))
    assert not torch.equal(first.log_prob(x), other.log_prob(x))


def test_every_paradigm_starts_at_the_same_noise(at_truth: Cell, truth: Truth) -> None:
    x = truth.flow.sample(8, torch.Generator().manual_seed(0))
    game, oracle = (
        started(at_truth, truth, start_noise=0.05, paradigm={"name": name}) for name in ("nll", "nsgan_oracle")
    )
    assert torch.equal(game.log_prob(x), oracle.log_prob(x))


def test_noise_needs_the_truth_s_weights(at_truth: Cell) -> None:
    with pytest.raises(ValidationError, match="needs start: truth"):
        Cell.model_validate(at_truth.model_dump() | {"start": "random", "start_noise": 0.1})


def test_a_cell_without_noise_keeps_its_id_and_one_with_noise_has_its_own(at_truth: Cell) -> None:
    noisy = [at_truth.model_copy(update={"start_noise": noise}) for noise in (0.0, 0.01, 0.02)]
    assert noisy[0].id == at_truth.id
    assert len({cell.id for cell in noisy}) == 3
    assert "truth + 0.01 noise" in noisy[1].label


def test_noisy_starts_have_no_prediction(at_truth: Cell) -> None:
    game = NSGANConfig(optimizer="sgd", updates="simultaneous", steps=10)
    cell = at_truth.model_copy(update={"paradigm": game})
    assert cell.has_prediction
    assert not cell.model_copy(update={"start_noise": 0.01}).has_prediction
