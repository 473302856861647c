"""Count the parameters and operations of a model from its configuration alone, exactly as the model is built."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from nllgen.study.config import AnyArchitecture, DCGANConfig, FlowConfig, ImportedConfig


@dataclass(frozen=True)
class ModelCost:
    """A model, counted.

    Attributes:
        num_parameters: trainable numbers; equal to the built model's.
        macs: multiply-accumulates of one pass of one image; of a flow, in either direction.
        activations: feature-map values of one pass of one image.
        num_layers: couplings in a row, or what takes as long to launch.
    """

    num_parameters: int
    macs: int
    activations: int
    num_layers: int


class _Couplings(NamedTuple):
    """``num`` equal couplings that each see ``half`` channels on a grid of ``sites``, behind an ActNorm."""

    num: int
    half: int
    width: int
    sites: int
    norm_channels: int


def _stages(config: FlowConfig) -> Iterator[_Couplings]:
    (c, h, w), width = config.shape, config.width
    for _ in range(config.scales - 1):
        yield _Couplings(3, 2 * c, width, -(-h // 2) * -(-w // 2), c)
        yield _Couplings(3, 2 * c, 2 * width, (h // 2) * (w // 2), 4 * c)
        c, h, w, width = 2 * c, h // 2, w // 2, 2 * width
    yield _Couplings(4, 2 * c, width, -(-h // 2) * -(-w // 2), c)


@lru_cache(maxsize=4096)
def flow_cost(config: FlowConfig) -> ModelCost:
    """Count a flow."""
    parameters = macs = activations = couplings = 0
    inner = 2 * config.blocks  # 3×3 convolutions of width → width
    for num, half, width, sites, norm_channels in _stages(config):
        scale = half if config.coupling == "affine" else 0
        out = half + scale
        weights = 9 * width * (half + inner * width + out)
        biases = width * (1 + inner) + out
        parameters += num * (weights + biases + scale + 2 * norm_channels)
        macs += num * sites * weights
        activations += num * sites * (biases + 2 * half)
        couplings += num
    return ModelCost(parameters, macs, activations, couplings)


def dcgan_cost(config: DCGANConfig) -> ModelCost:
    """Count a DCGAN generator: a linear layer, two transposed 4×4 convolutions of stride 2, one 3×3 convolution."""
    (c, h, w), width = config.shape, config.width
    half, quarter = _halved(h, w), _halved(*_halved(h, w))
    first = 4 * width * quarter[0] * quarter[1]
    parameters, macs, activations = config.latent_dim * first + first + 8 * width, config.latent_dim * first, 2 * first
    for factor, (rows, columns) in ((2, quarter), (1, half)):  # sites before each
        weights = 16 * (2 * factor * width) * (factor * width)
        parameters += weights + 3 * factor * width
        macs += weights * rows * columns
        activations += 2 * 4 * factor * width * rows * columns
    weights = 9 * width * c
    return ModelCost(parameters + weights + c, macs + weights * h * w, activations, 1)


@lru_cache(maxsize=4096)
def discriminator_cost(width: int, shape: tuple[int, int, int]) -> ModelCost:
    """Count a discriminator: 5×5 convolutions of stride 2, to 1, 2 and 4 times ``width``, and a linear layer."""
    channels, h, w = shape
    parameters = macs = activations = 0
    for factor in (1, 2, 4):
        h, w = _halved(h, w)
        weights = 25 * channels * factor * width
        channels = factor * width
        parameters += weights + channels
        macs += weights * h * w
        activations += channels * h * w
    return ModelCost(parameters + channels * h * w + 1, macs + channels * h * w, activations, 1)


def model_cost(config: AnyArchitecture) -> ModelCost:
    """Count a model; one of the user's own counts nothing."""
    if isinstance(config, ImportedConfig):
        return ModelCost(0, 0, 0, 0)
    return dcgan_cost(config) if isinstance(config, DCGANConfig) else flow_cost(config)


def _halved(height: int, width: int) -> tuple[int, int]:
    return -(-height // 2), -(-width // 2)
