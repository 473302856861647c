"""The LeNets that ship with nllgen, by the published set and the image size that they were trained on.

Each is a network of its own domain: features of digits say little about clothes. This module has no torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from nllgen.study.config import Cell, DataConfig, Study
from nllgen.study.image_sets import source_title

LENETS: Final = {
    ("mnist", 28): "lenet.pt",
    ("mnist", 14): "lenet14.pt",
    ("fashion-mnist", 28): "lenet_fashion.pt",
    ("fashion-mnist", 14): "lenet_fashion14.pt",
}
_SIDES = sorted({side for _, side in LENETS})


def domain_of(data: DataConfig, truth: Cell | None) -> DataConfig:
    """Return the real data that images look like: those of a truth, which draws them, or the data themselves."""
    return truth.data if data.is_synthetic and truth is not None else data


def has_lenet(domain: DataConfig) -> bool:
    """Return whether a LeNet was trained on such images."""
    return domain.shape == (1, domain.image_size, domain.image_size) and (domain.source, domain.image_size) in LENETS


def without_lenet(source: str, shape: tuple[int, int, int]) -> str:
    """Return the reason why there is no LeNet for images (C, H, W) of a source."""
    channels, height, width = shape
    trained = list(dict.fromkeys(source_title(name) for name, _ in LENETS))
    if source_title(source) in trained and (channels, height) == (1, width) and height < _SIDES[0]:
        return f"there is no LeNet for images of {height}×{width}: at 7×7 half of the digits cannot be told apart"
    colours = " in colour" if channels > 1 else ""
    return (
        f"there is no LeNet for {source_title(source)} of {height}×{width}{colours}: those that ship were trained on "
        f"{' and '.join(trained)} at {' and '.join(f'{side}×{side}' for side in _SIDES)}"
    )


def domains_of(study: Study) -> list[DataConfig]:
    """Return the real data that the images of a study's cells look like, once each."""
    return list(dict.fromkeys(domain_of(cell.data, study.truth) for cell in study.cells))


def missing_lenets(extractors: Iterable[str], domains: Iterable[DataConfig]) -> list[str]:
    """Return the reasons why a study measures nothing on LeNet's features, although it asks for them.

    Args:
        extractors: ``metrics.frechet`` of the study.
        domains: the real data that its images look like.
    """
    unread = [domain for domain in domains if not has_lenet(domain)] if "lenet" in extractors else []
    return list(dict.fromkeys(without_lenet(domain.source, domain.shape) for domain in unread))
