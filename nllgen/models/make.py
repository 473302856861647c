"""Create the model of a cell."""

from __future__ import annotations

from nllgen.models.dcgan import DCGAN
from nllgen.models.imported import ImportedModel
from nllgen.models.model import Model
from nllgen.models.realnvp import RealNVP
from nllgen.study.config import Cell


def make_model(cell: Cell) -> Model:
    """Create the model that a cell trains, with new weights from the global generator.

    Raises:
        ConfigError: a user's own model cannot be imported, or lacks a required method.
    """
    if cell.dcgan is not None:
        return DCGAN(cell.dcgan)
    return ImportedModel(cell.model) if cell.model is not None else RealNVP(cell.real_nvp)
