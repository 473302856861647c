"""Where a training batch comes from. Each source's position and order are part of the training state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from nllgen.data.logits import dequantise, to_logits
from nllgen.models import RealNVP

_DRAW = 512  # images drawn from the truth at once


class Source(ABC):
    """An endless stream of training images in logit space.

    Attributes:
        num_images: images in an epoch, None where every image is fresh.
    """

    num_images: int | None

    @abstractmethod
    def next(self, n: int) -> Tensor:
        """The next n images (n, C, H, W) float32."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Order and position."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on at a position."""


class Finite(Source):
    """Images in memory, in a new random order each epoch; a last incomplete batch is filled from the next epoch."""

    def __init__(self, images: Tensor, order: torch.Generator):
        self.images = images
        self.num_images = len(images)
        self._order = order
        self._permutation = torch.empty(0, dtype=torch.int64)
        self._position = 0

    @override
    def next(self, n: int) -> Tensor:
        taken = []
        while n > 0:
            if self._position == len(self._permutation):
                self._permutation = torch.randperm(len(self.images), generator=self._order)
                self._position = 0
            rows = self._permutation[self._position : self._position + n]
            taken.append(rows)
            self._position += len(rows)
            n -= len(rows)
        return self.images.index_select(0, torch.cat(taken).to(self.images.device))

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"permutation": self._permutation, "position": self._position}

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._permutation, self._position = state["permutation"], state["position"]


class Dequantised(Finite):
    """8-bit images, dequantised anew each time they are seen (science.md, *Dequantisation and logits*)."""

    def __init__(self, images: Tensor, order: torch.Generator, noise: torch.Generator, alpha: float):
        super().__init__(images, order)
        self._noise = noise
        self._alpha = alpha

    @override
    def next(self, n: int) -> Tensor:
        return to_logits(dequantise(super().next(n), self._noise), self._alpha)


class Fresh(Source):
    """Every image is a new draw from the truth (N = ∞). Draws are made in fp32, whatever the training's precision."""

    num_images = None

    def __init__(self, truth: RealNVP, noise: torch.Generator):
        self._truth = truth
        self._noise = noise

    @override
    @torch.no_grad()
    def next(self, n: int) -> Tensor:
        with torch.autocast(next(self._truth.parameters()).device.type, enabled=False):
            parts = [self._truth.sample(min(_DRAW, n - i), self._noise) for i in range(0, n, _DRAW)]
        return torch.cat(parts)

    @override
    def state_dict(self) -> dict[str, Any]:
        return {}

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass  # there is none
