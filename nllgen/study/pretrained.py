"""Truths that ship with nllgen: trained once, frozen, checked by hash. A study names one and trains none.

Each is a folder of ``truths/``: ``truth.pt``, the frozen weights, and ``card.json``, which tells what they are without
torch. ``python -m benchmarks.pack_truth`` writes both.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from pydantic import ValidationError

from nllgen.errors import AssetError, CorruptFileError
from nllgen.study.config import Cell, Frozen

_FOLDER = Path(__file__).with_name("truths")
_CARD, _WEIGHTS = "card.json", "truth.pt"


class Card(Frozen):
    """The description of a pretrained truth.

    Attributes:
        description: one sentence for people.
        cell: the training run that made it; its id is the truth's.
        command: that trained it.
        sha256: of truth.pt.
        bits_per_dim: on MNIST's test images, with the Jacobian to 256 levels.
        num_params: of the flow.
    """

    description: str
    cell: Cell
    command: str
    sha256: str
    bits_per_dim: float
    num_params: int


def pretrained_names() -> list[str]:
    """Return the names of all truths that ship, sorted."""
    return sorted(path.parent.name for path in _FOLDER.glob(f"*/{_CARD}"))


@lru_cache
def pretrained_card(name: str) -> Card:
    """Return the card of a truth that ships.

    Raises:
        AssetError: the installation lacks the card.
        CorruptFileError: the card was edited or is damaged.
    """
    path = _FOLDER / name / _CARD
    try:
        return Card.model_validate_json(path.read_bytes())
    except OSError as error:
        raise AssetError(f"{path}: {error.strerror}", "install nllgen again") from error
    except ValidationError as error:
        raise CorruptFileError(f"{path}: not the card of a truth: {error}", "install nllgen again") from error


def pretrained_weights(name: str) -> bytes:
    """Return the truth.pt of a truth that ships, checked against its card.

    Raises:
        AssetError: the installation lacks it.
        CorruptFileError: it is not the one that its card names.
    """
    path, expected = _FOLDER / name / _WEIGHTS, pretrained_card(name).sha256
    try:
        content = path.read_bytes()
    except OSError as error:
        raise AssetError(f"{path}: {error.strerror}", "install nllgen again") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != expected:
        message = f"{path}: its SHA-256 is {digest[:16]}…, its card names {expected[:16]}…"
        raise CorruptFileError(message, "install nllgen again")
    return content
