"""What an image looks like to a network: feature extractors behind the Fréchet distance.

A Fréchet value is named with its extractor, the split behind it, N of both sides and their quantisation; ``name`` and
``sha256`` here are the extractor's part of that.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nllgen.metrics.frechet import MetricInputError

LEVELS = 256


def quantise(images: Tensor) -> Tensor:
    """Round images down to 8 bit.

    Level u stands for v ∈ [u/256, (u+1)/256), which is how dequantisation spreads it; so u = ⌊256 v⌋ undoes that. An
    image that was 8-bit data already, u/255, stays as it is.

    Args:
        images: any shape, in [0, 1].

    Returns:
        Values u/255 with u in 0…255, of the same shape.
    """
    return (images * LEVELS).floor().clamp(0, LEVELS - 1) / (LEVELS - 1)


def _exact_convolutions() -> AbstractContextManager[None]:
    # cuDNN's defaults are TF32, with 10 bits of mantissa, and algorithms that may differ from run to run.
    return torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)


class Extractor(ABC):
    """A fixed network whose features are compared.

    Attributes:
        name: as in ``frechet_<name>``.
        sha256: of the weights file.
        dim: d, the number of features.
        channels: what C an image may have.
        device: where the network lies; images are brought there batch by batch.
    """

    name: str
    sha256: str
    dim: int
    channels: tuple[int, ...]
    device: torch.device

    @abstractmethod
    def _forward(self, images: Tensor) -> Tensor:
        """Features (n, d) of a batch (n, C, H, W) in [0, 1] on the device."""

    @torch.inference_mode()
    def features(self, images: Tensor, batch: int = 250, *, quantised: bool = True) -> npt.NDArray[np.float64]:
        """Features of images, computed in fp32.

        Args:
            images: (N, C, H, W) in [0, 1], any device; uint8 is taken as levels 0…255. A pixel that is NaN, as a
                diverged model draws it, makes its image's features NaN.
            batch: images at a time.
            quantised: round them to 8 bit first (:func:`quantise`).

        Returns:
            (N, d) float64.

        Raises:
            MetricInputError: another shape, or pixels outside [0, 1].
        """
        self._check(images)
        rows = np.empty((len(images), self.dim))
        for start in range(0, len(images), batch):
            part = images[start : start + batch].to(self.device)
            pixels = part.float() / (LEVELS - 1) if part.dtype == torch.uint8 else part.float()
            with _exact_convolutions():
                found = self._forward(quantise(pixels) if quantised else pixels)
            rows[start : start + batch] = found.double().cpu().numpy()
        return rows

    def _check(self, images: Tensor) -> None:
        if images.ndim != 4 or images.shape[1] not in self.channels or not images.numel():
            raise MetricInputError(
                f"{self.name} cannot look at images of shape {tuple(images.shape)}",
                f"(N, C, H, W) with C in {self.channels}",
            )
        if images.is_floating_point() and ((images < 0) | (images > 1)).any():
            raise MetricInputError(
                f"{self.name} was given pixels outside [0, 1]", "logits go through from_logits first"
            )


def load_extractor(
    name: Literal["lenet", "inception"],
    device: torch.device | str,
    *,
    inception_weights: Path,
    echo: Callable[[str], None],
) -> Extractor | None:
    """An extractor by its name in a study.

    Args:
        name: of the extractor.
        device: where its network is put.
        inception_weights: where Inception's weights lie, if they are there.
        say: told once a process that they are not.

    Returns:
        None for Inception where its weights are missing: the metric is NaN then.

    Raises:
        CorruptFileError: weights that are not the ones whose hash is known.
    """
    if name == "lenet":
        from nllgen.metrics.lenet import LeNetExtractor

        return LeNetExtractor(device)
    from nllgen.metrics.inception import load_inception  # torchvision takes two seconds to import

    return cast("Extractor | None", load_inception(inception_weights, device, echo))
