"""Image features: the interface of extractors, and the quantisation of their inputs.

A Fréchet distance is identified by its extractor, the split, the number of images on both sides and their quantisation.
``name`` and ``sha256`` identify the extractor.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nllgen.errors import CorruptFileError, MetricInputError, reading
from nllgen.metrics.batches import in_batches
from nllgen.study.untrusted_files import read_regular

LEVELS = 256
_MAX_BYTES = 2**30  # Inception's weights have a tenth of it


def quantise(images: Tensor) -> Tensor:
    """Round images in [0, 1] down to 8 bit: values u/255 with u in 0…255.

    Level u stands for v ∈ [u/256, (u+1)/256), over which dequantisation spreads it, so u = ⌊256 v⌋ inverts
    dequantisation. Images u/255 that were 8-bit data already do not change.
    """
    return (images * LEVELS).floor().clamp(0, LEVELS - 1) / (LEVELS - 1)


@contextmanager
def loading(weights: Path, content: str, hint: str) -> Iterator[None]:
    """Report a failure to load a weights file.

    Raises:
        CorruptFileError: the file is missing or damaged, or does not hold ``content``.
        MachineError: it cannot be read now.
    """
    try:
        with reading(weights):
            yield
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise CorruptFileError(f"{weights} does not hold {content}: {error}", hint) from error


def read_weights(weights: Path, sha256: str, hint: str) -> tuple[dict[str, Any], str]:
    """Read a state dict from a file whose SHA-256 begins with ``sha256``; return it with the whole SHA-256."""
    data = read_regular(weights, _MAX_BYTES)
    digest = hashlib.sha256(data).hexdigest()
    if not digest.startswith(sha256):
        raise CorruptFileError(f"{weights} has the SHA-256 {digest}, not {sha256}", hint)
    state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return state, digest


def _exact_convolutions() -> AbstractContextManager[None]:
    # By default cuDNN uses TF32, with 10 bits of mantissa, and algorithms that may differ between runs.
    return torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)


class Extractor(ABC):
    """A fixed network that maps images to features.

    Attributes:
        name: as in ``frechet_<name>``.
        sha256: of the weights file.
        dim: d, the number of features.
        channels: allowed values of C.
        image_size: height and width that images must have; None where any are allowed.
        device: of the network; images are copied to it batch by batch, and distances are computed on it.
    """

    name: str
    sha256: str
    dim: int
    channels: tuple[int, ...]
    image_size: int | None = None
    device: torch.device

    @abstractmethod
    def _forward(self, images: Tensor) -> Tensor:
        """Compute features (n, d) of a batch (n, C, H, W) in [0, 1] on the device."""

    @torch.inference_mode()
    def features(self, images: Tensor, batch: int = 250, *, quantised: bool = True) -> npt.NDArray[np.float64]:
        """Compute features (N, d) of images in fp32, ``batch`` at a time, as float64.

        Args:
            images: (N, C, H, W) in [0, 1] on any device, or uint8 levels 0…255. NaN pixels, as a diverged model draws
                them, give NaN features.
            batch: images at a time; fewer where a GPU has no memory for so many.
            quantised: round the images to 8 bit first (:func:`quantise`).

        Raises:
            MetricInputError: a wrong shape, or pixels outside [0, 1].
        """
        self._check(images)
        rows, start = np.empty((len(images), self.dim)), 0

        def features_of(part: Tensor) -> Tensor:
            part = part.to(self.device)
            pixels = part.float() / (LEVELS - 1) if part.dtype == torch.uint8 else part.float()
            with _exact_convolutions():
                return self._forward(quantise(pixels) if quantised else pixels)

        for features in in_batches(features_of, images, batch=batch):
            rows[start : start + len(features)] = features.double().cpu().numpy()
            start += len(features)
        return rows

    def _check(self, images: Tensor) -> None:
        if images.ndim != 4 or images.shape[1] not in self.channels or not images.numel():
            raise MetricInputError(
                f"{self.name} does not accept images of shape {tuple(images.shape)}",
                f"expected (N, C, H, W) with C in {self.channels}",
            )
        if self.image_size is not None and images.shape[2:] != (self.image_size, self.image_size):
            size = "×".join(map(str, images.shape[2:]))
            raise MetricInputError(f"{self.name} reads images of {self.image_size}×{self.image_size}, not of {size}")
        if images.is_floating_point() and ((images < 0) | (images > 1)).any():
            raise MetricInputError(
                f"{self.name} received pixels outside [0, 1]", "convert logits with from_logits first"
            )
