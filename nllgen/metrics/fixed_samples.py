"""A model that returns images drawn elsewhere."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from nllgen.models import Model


class FixedSamples(Model):
    """A model known only by its samples, which are returned in order.

    Args:
        images: (n, C, H, W) logits.
    """

    def __init__(self, images: Tensor):
        super().__init__()
        self.shape = (images.shape[1], images.shape[2], images.shape[3])
        self._images = images
        self._position = 0

    @override
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Return the next n images.

        Raises:
            ValueError: fewer than n images are left.
        """
        images = self._images[self._position : self._position + n]
        if len(images) < n:
            raise ValueError(f"{n} images requested, {len(images)} left")
        self._position += n
        return images
