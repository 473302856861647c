"""The Real NVP and the models that can be trained in its place."""

from nllgen.models.make import make_model
from nllgen.models.model import DensityModel, Model
from nllgen.models.nesting import embed
from nllgen.models.realnvp import RealNVP

__all__ = ["DensityModel", "Model", "RealNVP", "embed", "make_model"]
