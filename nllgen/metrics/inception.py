"""pytorch-fid's Inception (Szegedy et al. 2016; Heusel et al. 2017) for the published FID, from a local file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from nllgen.metrics.features import Extractor, loading, read_weights
from nllgen.torchvision_ops import import_torchvision

SHA256_PREFIX = "6726825d"  # by torch.hub's convention the name of the weights file ends in it
NUM_FEATURES = 2048
HINT = "run: nllgen assets fetch inception"


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

    def __init__(self, weights: str | Path, device: torch.device | str, sha256_prefix: str = SHA256_PREFIX):
        self.device, weights = torch.device(device), Path(weights)
        with loading(weights, "Inception's weights", HINT):
            state, self.sha256 = read_weights(weights, sha256_prefix, HINT)
            self.network = _build(state).to(self.device)

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
