"""pytorch-fid's Inception (Szegedy et al. 2016; Heusel et al. 2017) for the published FID, from a local file."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from nllgen.errors import CorruptFileError, reading
from nllgen.metrics.features import Extractor
from nllgen.torchvision_ops import import_torchvision

SHA256_PREFIX = "6726825d"  # by torch.hub's convention the name of the weights file ends in it
NUM_FEATURES = 2048

_HINT = "run: nllgen assets fetch inception"
_reported: set[Path] = set()


class InceptionExtractor(Extractor):
    """Inception's last average pooling, with pytorch-fid's own preprocessing: 299 × 299 bilinear, 2x − 1.

    Args:
        weights: pytorch-fid's weights file.
        device: of the network.
        sha256_prefix: first digits of the file's SHA-256.

    Raises:
        CorruptFileError: the file has another hash, or does not hold Inception's weights.
        MachineError: torchvision is incompatible with the installed torch.
    """

    name = "inception"
    dim = NUM_FEATURES
    channels = (1, 3)

    def __init__(self, weights: Path, device: torch.device | str, sha256_prefix: str = SHA256_PREFIX):
        self.device = torch.device(device)
        try:
            with reading(weights):
                data = weights.read_bytes()
            self.sha256 = hashlib.sha256(data).hexdigest()
            if not self.sha256.startswith(sha256_prefix):
                raise CorruptFileError(f"{weights} has the SHA-256 {self.sha256}, not {sha256_prefix}…", _HINT)
            self.network = _build(torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)).to(self.device)
        except (OSError, ValueError, TypeError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise CorruptFileError(f"{weights} does not hold Inception's weights: {error}", _HINT) from error

    def _forward(self, images: Tensor) -> Tensor:
        # grey images become RGB with three equal channels, as an image file opened as RGB does
        colour = images.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        features: Tensor = self.network(colour)[0]
        return features.flatten(1)


def weights_url() -> str:
    """Return the URL where pytorch-fid publishes the weights."""
    import_torchvision()
    from pytorch_fid import inception

    return str(inception.FID_WEIGHTS_URL)


def load_inception(weights: Path, device: torch.device | str, echo: Callable[[str], None]) -> InceptionExtractor | None:
    """Load the extractor, or return None where its weights are missing, which is reported once per process.

    Raises:
        CorruptFileError: the file exists, but is not pytorch-fid's.
    """
    if weights.exists():
        return InceptionExtractor(weights, device)
    if weights not in _reported:
        _reported.add(weights)
        echo(f"no Inception weights at {weights}: frechet_inception is NaN ({_HINT})")
    return None


def _build(state: dict[str, Tensor]) -> nn.Module:
    import_torchvision()
    from pytorch_fid import inception

    def load_local(*_: Any, **__: Any) -> dict[str, Tensor]:
        return state

    # pytorch-fid downloads the weights while it builds the network, but a compute node has no internet access.
    original = inception.load_state_dict_from_url
    inception.load_state_dict_from_url = load_local
    try:
        network: nn.Module = inception.InceptionV3([inception.InceptionV3.BLOCK_INDEX_BY_DIM[NUM_FEATURES]])
    finally:
        inception.load_state_dict_from_url = original
    return _fuse_normalisation(network.eval())


def _fuse_normalisation(network: nn.Module) -> nn.Module:
    """Merge each batch normalisation into its convolution, and use channels-last.

    Features agree up to fp32 rounding.
    """
    for module in network.modules():
        if isinstance(norm := getattr(module, "bn", None), nn.BatchNorm2d):
            module.conv = fuse_conv_bn_eval(cast("nn.Conv2d", module.conv), norm)
            module.bn = nn.Identity()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network
