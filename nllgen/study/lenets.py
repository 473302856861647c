"""The LeNets that ship with nllgen, by the published set and the image size that they were trained on.

Each is a network of its own domain: features of digits say little about clothes. This module has no torch.
"""

from __future__ import annotations

from typing import Final

from nllgen.study.cell import Cell, DataConfig
from nllgen.study.image_sets import source_title

LENETS: Final = {
    ("mnist", 28): "lenet.pt",
    ("mnist", 14): "lenet14.pt",
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
