"""Loading of feature extractors by the names that a study uses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch

from nllgen.metrics.features import Extractor
from nllgen.metrics.lenet import LeNetExtractor


def load_extractor(
    name: Literal["lenet", "inception"],
    device: torch.device | str,
    *,
    inception_weights: Path,
    echo: Callable[[str], None],
) -> Extractor | None:
    """Load an extractor.

    Args:
        name: of the extractor in a study.
        device: of its network.
        inception_weights: path of Inception's weights, which may be missing.
        echo: prints once per process that they are missing.

    Returns:
        None for Inception if its weights are missing; its metrics are NaN then.

    Raises:
        CorruptFileError: weights with another hash than the known one.
    """
    if name == "lenet":
        return LeNetExtractor(device)
    from nllgen.metrics.inception import load_inception  # importing torchvision takes two seconds

    return load_inception(inception_weights, device, echo)
