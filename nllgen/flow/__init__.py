"""The Real NVP, and the other models that can be trained in its place."""

from nllgen.flow.make import make_model
from nllgen.flow.model import DensityModel, Model
from nllgen.flow.nesting import embed
from nllgen.flow.realnvp import RealNVP

__all__ = ["DensityModel", "Model", "RealNVP", "embed", "make_model"]
