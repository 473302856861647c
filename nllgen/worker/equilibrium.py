"""Predicted critical step of a cell that starts at the equilibrium."""

from __future__ import annotations

import torch

from nllgen.metrics.equilibrium import predict
from nllgen.metrics.game import nsgan_game
from nllgen.models import RealNVP
from nllgen.paradigms.guard import Scalars
from nllgen.paradigms.nsgan import NSGAN
from nllgen.study.config import NSGANConfig
from nllgen.train.state import TrainState


def predict_critical_step(state: TrainState, num_latents: int, generator: torch.Generator) -> Scalars:
    """Compute the critical learning rate of the generator for the evaluation of step 0.

    Args:
        state: at step 0 of a cell that ``has_prediction``, with a prepared discriminator.
        num_latents: samples that approximate E_p and E_q.
        generator: random stream of the latents.

    Returns:
        Critical steps, the eigenvalue behind them and the number of null directions; empty where the model is no
        :class:`RealNVP`, whose inverse is needed.
    """
    config, flow, paradigm = state.cell.paradigm, state.flow, state.paradigm
    assert isinstance(config, NSGANConfig)
    assert isinstance(paradigm, NSGAN)
    if not isinstance(flow, RealNVP):
        return {}
    z = flow.sample_base(num_latents, generator)
    ratio = config.disc_lr / config.lr
    game = nsgan_game(flow, paradigm.disc, paradigm.view, z, lr_ratio=ratio, r1_gamma=config.r1_gamma)
    stability = predict(game, config.steps)
    return {
        "critical_step": stability.critical_step,
        "critical_step_run": stability.critical_step_run,
        "critical_real": stability.mode.real,
        "critical_imag": abs(stability.mode.imag),
        "num_null": float(stability.num_null),
    }
