"""The Real NVP."""

from nllgen.flow.nesting import embed
from nllgen.flow.realnvp import RealNVP

__all__ = ["RealNVP", "embed"]
