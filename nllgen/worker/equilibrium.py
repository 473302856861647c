"""The predicted critical step of a cell that starts at the equilibrium."""

from __future__ import annotations

import torch

from nllgen.metrics.equilibrium import predict
from nllgen.metrics.game import nsgan_game
from nllgen.models import RealNVP
from nllgen.paradigms.base import Scalars
from nllgen.paradigms.nsgan import NSGAN
from nllgen.study.config import NSGANConfig
from nllgen.train.state import TrainState


def prediction(state: TrainState, num_latents: int, generator: torch.Generator) -> Scalars:
    """Columns of the evaluation of step 0: critical steps of the generator's learning rate, and what is behind them.

    Args:
        state: at step 0 of a cell that ``has_prediction``, its discriminator prepared.
        num_latents: samples that stand for E_p and E_q.
        generator: of the latents.
    """
    config, flow, paradigm = state.cell.paradigm, state.flow, state.paradigm
    assert isinstance(config, NSGANConfig)
    assert isinstance(paradigm, NSGAN)
    if not isinstance(flow, RealNVP):  # a model by import path does not show its inverse
        return {}
    z = flow.sample_base(num_latents, generator)
    ratio = config.disc_lr / config.lr
    game = nsgan_game(flow, paradigm.disc, paradigm.view, z, lr_ratio=ratio, r1_gamma=config.r1_gamma)
    found = predict(game, config.steps)
    return {
        "critical_step": found.critical_step,
        "critical_step_run": found.critical_step_run,
        "critical_real": found.mode.real,
        "critical_imag": abs(found.mode.imag),
        "num_null": float(found.num_null),
    }
