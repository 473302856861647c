"""Images that were drawn elsewhere, in a model's place."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from nllgen.models import Model


class FixedSamples(Model):
    """A model that is known by its draws alone, handed out one after the other.

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
        """The next n of them.

        Raises:
            ValueError: there are no n left.
        """
        found = self._images[self._position : self._position + n]
        if len(found) < n:
            raise ValueError(f"{n} images asked for, {len(found)} left")
        self._position += n
        return found
