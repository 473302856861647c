"""Loading of feature extractors by the names that a study uses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch

from nllgen.metrics.features import Extractor
from nllgen.metrics.inception import HINT, InceptionExtractor
from nllgen.metrics.lenet import LeNetExtractor

_reported: set[Path] = set()


def load_extractor(
    name: Literal["lenet", "inception"],
    device: torch.device | str,
    *,
    inception_weights: str | Path,
    echo: Callable[[str], None],
) -> Extractor | None:
    """Load an extractor of a study on a device; None for Inception without its weights, whose metrics are NaN then.

    Args:
        name: of the extractor in a study.
        device: of its network.
        inception_weights: path of Inception's weights, which may be missing.
        echo: prints once per process that they are missing.

    Raises:
        CorruptFileError: weights with another hash than the known one.
    """
    if name == "lenet":
        return LeNetExtractor(device)
    weights = Path(inception_weights)
    if weights.exists():
        return InceptionExtractor(weights, device)
    if weights not in _reported:
        _reported.add(weights)
        echo(f"no Inception weights at {weights}: frechet_inception is NaN ({HINT})")
    return None
