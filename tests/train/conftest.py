"""Tiny training runs on images of known density, with every precision and paradigm."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch

from nllgen.data.sources import Dequantised, Finite, Fresh
from nllgen.data.truth import Truth
from nllgen.models import RealNVP
from nllgen.study.allowed_keys import PARADIGMS
from nllgen.study.config import Cell, DataConfig, DCGANConfig, FlowConfig, ImportedConfig
from nllgen.worker.factory import CellData, make_state
from tests.train.runs import MakeRun, MakeState

FLOW = FlowConfig(shape=(1, 7, 7), width=4, blocks=1, scales=1)
ZUKO: dict[str, Any] = {"name": "NSF", "transforms": 1, "hidden_features": [8], "bins": 4}
MODELS: dict[str, dict[str, Any]] = {
    "flow": {"flow": FLOW},
    "student_t": {"flow": FlowConfig(shape=(1, 7, 7), width=4, blocks=1, scales=1, base="student_t", dof=5.0)},
    "dcgan": {"dcgan": DCGANConfig(shape=(1, 7, 7), width=4, latent_dim=8)},
    "zuko": {"model": ImportedConfig(shape=(1, 7, 7), factory="nllgen.models.from_zuko:flow", options=ZUKO)},
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def truth() -> Truth:
    torch.manual_seed(0)
    flow = RealNVP(FLOW).requires_grad_(False)
    flow.initialise(torch.randn(64, 1, 7, 7))
    for parameter in flow.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    return Truth(Cell(data=DataConfig(image_size=7), flow=FLOW), flow, "sha")


@pytest.fixture
def make_run(truth: Truth) -> MakeRun:
    """Return make(paradigm, source, …), which returns a function that creates the state of step 0."""

    def make(
        paradigm: str = "nll",
        source: str = "mnist",
        precision: str = "fp32",
        start: str = "random",
        seed: int = 0,
        model: str = "flow",
        device: str = "cpu",
        **options: Any,
    ) -> MakeState:
        config = PARADIGMS[paradigm]
        small = {"disc_width": 4} if "disc_width" in config.model_fields else {}
        settings = {"steps": 12, "batch_size": 16, "eval_every": 5, **small} | options
        data = (
            DataConfig(image_size=7)
            if source == "mnist"
            else DataConfig(source="synthetic", image_size=7, num_train=40 if source == "finite" else "fresh")
        )
        choices: dict[str, Any] = {"paradigm": config(**settings), "precision": precision, "start": start, "seed": seed}
        cell = Cell(data=data, **MODELS[model], **choices)
        levels = torch.randint(0, 256, (50, 1, 7, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))
        images = truth.flow.sample(40, torch.Generator().manual_seed(6)).to(device)
        levels, on_device = levels.to(device), replace(truth, flow=copy.deepcopy(truth.flow).to(device))
        sources = {
            "mnist": lambda order, noise: Dequantised(levels, order, noise, 1e-6),
            "finite": lambda order, noise: Finite(images, order),
            "fresh": lambda order, noise: Fresh(on_device.flow, noise),
        }
        training = {"mnist": levels, "finite": images, "fresh": None}[source]
        return lambda: make_state(cell, CellData(sources[source], {}, training), on_device, torch.device(device))

    return make
