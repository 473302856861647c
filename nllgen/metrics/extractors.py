"""Loading of feature extractors by the names that a study uses."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from pathlib import Path

import torch

from nllgen.metrics.features import Extractor
from nllgen.metrics.inception import HINT, InceptionExtractor
from nllgen.metrics.lenet import LeNetExtractor
from nllgen.study.config import DataConfig
from nllgen.study.lenets import has_lenet, without_lenet
from nllgen.study.metric_groups import ExtractorName

MNIST = DataConfig()
_reported: set[Hashable] = set()


def load_extractor(
    name: ExtractorName,
    device: torch.device | str,
    *,
    domain: DataConfig = MNIST,
    inception_weights: str | Path,
    echo: Callable[[str], None],
) -> Extractor | None:
    """Load an extractor of a study on a device; None where there is none, and its metrics are not measured.

    Args:
        name: of the extractor in a study.
        device: of its network.
        domain: real data that the images look like.
        inception_weights: path of Inception's weights, which may be missing.
        echo: prints once per process why there is none.

    Raises:
        CorruptFileError: weights with another hash than the known one.
    """
    if name == "lenet":
        if has_lenet(domain):
            return LeNetExtractor(device, domain.image_size, domain.source)
        reason = without_lenet(domain.source, domain.shape)
        _report(reason, f"{reason}; frechet_lenet and the other metrics of its features are NaN", echo)
        return None
    weights = Path(inception_weights)
    if weights.exists():
        return InceptionExtractor(weights, device)
    _report(weights, f"no Inception weights at {weights}: frechet_inception is NaN ({HINT})", echo)
    return None


def _report(reason: Hashable, text: str, echo: Callable[[str], None]) -> None:
    """Print a text once in a process."""
    if reason not in _reported:
        _reported.add(reason)
        echo(text)
