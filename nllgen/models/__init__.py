"""The Real NVP and the models that can be trained in its place."""

from nllgen.models.dcgan import DCGAN
from nllgen.models.imported import ImportedModel
from nllgen.models.model import DensityModel, Model
from nllgen.models.nesting import embed
from nllgen.models.realnvp import RealNVP
from nllgen.study.config import Cell

__all__ = ["DensityModel", "Model", "RealNVP", "embed", "make_model"]


def make_model(cell: Cell) -> Model:
    """Create the model that a cell trains, with new weights from the global generator.

    Raises:
        ConfigError: a user's own model cannot be imported, or breaks its contract.
    """
    if cell.dcgan is not None:
        return DCGAN(cell.dcgan)
    return ImportedModel(cell.model) if cell.model is not None else RealNVP(cell.real_nvp)
