"""The one place where a cell's model is made."""

from __future__ import annotations

from nllgen.models.dcgan import DCGAN
from nllgen.models.imported import ImportedModel
from nllgen.models.model import Model
from nllgen.models.realnvp import RealNVP
from nllgen.study.config import Cell


def make_model(cell: Cell) -> Model:
    """The model that a cell trains, with fresh weights from the global generator.

    Raises:
        ConfigError: a model of the user's own cannot be imported or does not do what one has to.
    """
    if cell.dcgan is not None:
        return DCGAN(cell.dcgan)
    return ImportedModel(cell.model) if cell.model is not None else RealNVP(cell.real_nvp)
