"""Sources of training batches. Position and order of a source are part of the training state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from nllgen.data.logits import dequantise, to_logits
from nllgen.models import RealNVP

_MAX_DRAW = 512  # images drawn from the truth at a time


class Source(ABC):
    """An endless stream of training images in logit space.

    Attributes:
        num_images: images in an epoch; None where every image is new.
    """

    num_images: int | None

    @abstractmethod
    def next(self, n: int) -> Tensor:
        """Return the next n images (n, C, H, W), float32."""

    def state_dict(self) -> dict[str, Any]:
        """Return order and position, if there are any."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore order and position."""
        assert not state


class Finite(Source):
    """Images in memory, reshuffled each epoch. The next epoch completes the last batch of an epoch."""

    def __init__(self, images: Tensor, order: torch.Generator):
        self.images = images
        self.num_images = len(images)
        self._order = order
        self._set_permutation(torch.empty(0, dtype=torch.int64))
        self._position = 0

    @override
    def next(self, n: int) -> Tensor:
        batch = []
        while n > 0:
            if self._position == len(self._permutation):
                self._set_permutation(torch.randperm(len(self.images), generator=self._order))
                self._position = 0
            rows = self._rows[self._position : self._position + n]
            batch.append(rows)
            self._position += len(rows)
            n -= len(rows)
        return self.images.index_select(0, torch.cat(batch))

    def _set_permutation(self, permutation: Tensor) -> None:
        """Set the order of an epoch, and copy it to the images' device, where batches are made.

        A GPU copies pinned memory while the host goes on.
        """
        device = self.images.device
        self._permutation = permutation if device.type == "cpu" or not len(permutation) else permutation.pin_memory()
        self._rows = self._permutation.to(device, non_blocking=True)

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"permutation": self._permutation, "position": self._position}

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._set_permutation(state["permutation"])
        self._position = state["position"]


class Dequantised(Finite):
    """8-bit images with new dequantisation noise in each epoch (science.md, *Dequantisation and logits*)."""

    def __init__(self, images: Tensor, order: torch.Generator, noise: torch.Generator, alpha: float):
        super().__init__(images, order)
        self._noise = noise
        self._alpha = alpha

    @override
    def next(self, n: int) -> Tensor:
        return to_logits(dequantise(super().next(n), self._noise), self._alpha)


class Fresh(Source):
    """New draws from the truth for every batch (N = ∞), in fp32 whatever the precision of training."""

    num_images = None

    def __init__(self, truth: RealNVP, noise: torch.Generator):
        self._truth = truth
        self._noise = noise

    @override
    @torch.no_grad()
    def next(self, n: int) -> Tensor:
        with torch.autocast(next(self._truth.parameters()).device.type, enabled=False):
            parts = [self._truth.sample(min(_MAX_DRAW, n - i), self._noise) for i in range(0, n, _MAX_DRAW)]
        return torch.cat(parts)  # no state: the run saves the noise stream
