"""Pretrained truths, which ship with nllgen. A study that names one trains no truth.

Each is a folder in ``truths/`` with ``truth.pt``, the frozen weights, and ``card.json``, their description for readers
without torch. ``python -m benchmarks.pack_truth`` writes both.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from pydantic import ValidationError

from nllgen.errors import AssetError, CorruptFileError
from nllgen.study.config import Cell, Frozen
from nllgen.study.validation import one_line

TRUTHS = Path(__file__).with_name("truths")
_CARD, WEIGHTS_NAME = "card.json", "truth.pt"


class Card(Frozen):
    """The description of a pretrained truth.

    Attributes:
        description: one sentence for readers.
        cell: training run of the truth; its id is the truth's.
        command: command line of that run.
        sha256: SHA-256 of truth.pt.
        bits_per_dim: bits per dimension on MNIST's test images, with the Jacobian to 256 levels.
        num_params: parameters of the flow.
    """

    description: str
    cell: Cell
    command: str
    sha256: str
    bits_per_dim: float
    num_params: int


def pretrained_names() -> list[str]:
    """List the names of all pretrained truths, sorted."""
    return sorted(path.parent.name for path in TRUTHS.glob(f"*/{_CARD}"))


@lru_cache
def pretrained_card(name: str) -> Card:
    """Read the card of a pretrained truth.

    Raises:
        AssetError: the installation lacks the card.
        CorruptFileError: the card was edited or is damaged.
    """
    path = TRUTHS / name / _CARD
    try:
        return Card.model_validate_json(_read(path))
    except ValidationError as error:
        raise CorruptFileError(f"{path}: not the card of a truth: {one_line(error)}", "install nllgen again") from error


def pretrained_weights(name: str) -> bytes:
    """Read the truth.pt of a pretrained truth and check it against its card.

    Raises:
        AssetError: the installation lacks the file.
        CorruptFileError: its hash is not the card's.
    """
    path, expected = TRUTHS / name / WEIGHTS_NAME, pretrained_card(name).sha256
    content = _read(path)
    digest = hashlib.sha256(content).hexdigest()
    if digest != expected:
        message = f"{path}: its SHA-256 is {digest[:16]}…, its card names {expected[:16]}…"
        raise CorruptFileError(message, "install nllgen again")
    return content


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise AssetError(f"{path}: {error.strerror}", "install nllgen again") from error
