"""How a model is trained. A paradigm is a file here and its configuration in ``study.config``."""

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
    "wgan_gp": "nllgen.paradigms.wgan_gp:WGANGP",
    "hybrid": "nllgen.paradigms.hybrid:Hybrid",
    "nsgan_oracle": "nllgen.paradigms.nsgan_oracle:NSGANOracle",
}


def make_paradigm(config: ParadigmConfig, flow: Model, context: Context) -> Paradigm:
    """The paradigm that a configuration names, with fresh optimisers and players."""
    module, name = REGISTRY[config.name].split(":")  # type: ignore[attr-defined]
    made: Paradigm = getattr(importlib.import_module(module), name)(config, flow, context)
    return made
