"""A LeNet-like MNIST classifier (LeCun et al. 1998, fig. 2), whose penultimate features the Fréchet distance compares.

It is the in-domain extractor, whereas Inception was not trained on digits. Its weights ship with the package;
``train_lenet`` creates them.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nllgen.metrics.features import Extractor, loading, read_weights

WEIGHTS = Path(__file__).with_name("lenet.pt")
IMAGE_SIZE = 28
NUM_FEATURES = 84
_HINT = "install nllgen again, or create the file with: python -m nllgen.metrics.train_lenet"


class LeNet(nn.Module):
    """Two convolutions and three linear layers, wider than the original, with ReLU and max pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 12, 5, padding=2)
        self.conv2 = nn.Conv2d(12, 24, 5)
        self.linear1 = nn.Linear(24 * 5 * 5, 120)
        self.linear2 = nn.Linear(120, NUM_FEATURES)
        self.linear3 = nn.Linear(NUM_FEATURES, 10)

    def features(self, images: Tensor) -> Tensor:
        """Compute penultimate features (N, 84) of images (N, 1, H, W) in [0, 1]; other sizes than 28 are resized."""
        if images.shape[-2:] != (IMAGE_SIZE, IMAGE_SIZE):
            images = F.interpolate(images, size=(IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", align_corners=False)
        x = F.max_pool2d(F.relu(self.conv1(2 * images - 1)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return F.relu(self.linear2(F.relu(self.linear1(x.flatten(1)))))

    def forward(self, images: Tensor) -> Tensor:
        """Compute class logits (N, 10)."""
        logits: Tensor = self.linear3(self.features(images))
        return logits


class LeNetExtractor(Extractor):
    """The LeNet that ships with nllgen.

    Args:
        device: of the network.
        weights: another weights file; a ``.json`` file of the same name holds its SHA-256.

    Raises:
        CorruptFileError: the file is missing, or has another SHA-256.
    """

    name = "lenet"
    dim = NUM_FEATURES
    channels = (1,)

    def __init__(self, device: torch.device | str, weights: str | Path = WEIGHTS):
        self.device, weights, network = torch.device(device), Path(weights), LeNet()
        with loading(weights, "LeNet's weights", _HINT):
            expected = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))["sha256"]
            state, self.sha256 = read_weights(weights, expected, _HINT)
            network.load_state_dict(state)
        self.network = network.to(self.device).eval().requires_grad_(False)

    def _forward(self, images: Tensor) -> Tensor:
        return self.network.features(images)
