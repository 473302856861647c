"""Training paradigms. A paradigm is a module of this package and a configuration in ``study.paradigms``."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nllgen.models import Model
    from nllgen.paradigms.base import Context, Paradigm
    from nllgen.study.config import ParadigmConfig

REGISTRY = {
    "nll": "nllgen.paradigms.nll:NLL",
    "nsgan": "nllgen.paradigms.nsgan:NSGAN",
    "r3gan": "nllgen.paradigms.r3gan:R3GAN",
    "wgan_gp": "nllgen.paradigms.wgan_gp:WGANGP",
    "hybrid": "nllgen.paradigms.hybrid:Hybrid",
    "nsgan_oracle": "nllgen.paradigms.nsgan_oracle:NSGANOracle",
    "noise": "nllgen.paradigms.noise:Noise",
}


def make_paradigm(config: ParadigmConfig, flow: Model, context: Context) -> Paradigm:
    """Create the paradigm that a configuration names, with new optimisers and players."""
    module, name = REGISTRY[config.name].split(":")  # type: ignore[attr-defined]
    paradigm: Paradigm = getattr(importlib.import_module(module), name)(config, flow, context)
    return paradigm
