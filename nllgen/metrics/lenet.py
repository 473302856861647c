"""LeNet-like classifiers (LeCun et al. 1998, fig. 2), whose penultimate features the Fréchet distance compares.

They are the in-domain extractors, whereas Inception was not trained on such images. Each is of one published set and
one image size at which classes can be told apart: a network of 28×28 reads digits that were enlarged from 14×14 with
94.4 % accuracy, and from 7×7 with 47.5 %. Their weights ship with the package; ``train_lenet`` creates them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nllgen.errors import MetricInputError
from nllgen.metrics.features import Extractor, loading, read_weights
from nllgen.study.lenets import LENETS, without_lenet

NUM_FEATURES = 84


@dataclass(frozen=True)
class Design:
    """A network for one image size.

    Attributes:
        maps: feature maps of both convolutions.
        kernel: size of their kernels.
        paddings: of both.
        side: height and width of the feature maps after both poolings.
    """

    maps: tuple[int, int]
    kernel: int
    paddings: tuple[int, int]
    side: int


DESIGNS: Final = {
    28: Design(maps=(12, 24), kernel=5, paddings=(2, 0), side=5),
    14: Design(maps=(16, 32), kernel=3, paddings=(1, 1), side=3),
}


class LeNet(nn.Module):
    """Two convolutions and three linear layers, wider than the original, with ReLU and max pooling."""

    def __init__(self, image_size: int = 28) -> None:
        super().__init__()
        design = DESIGNS[image_size]
        first, second = design.maps
        self.image_size = image_size
        self.conv1 = nn.Conv2d(1, first, design.kernel, padding=design.paddings[0])
        self.conv2 = nn.Conv2d(first, second, design.kernel, padding=design.paddings[1])
        self.linear1 = nn.Linear(second * design.side**2, 120)
        self.linear2 = nn.Linear(120, NUM_FEATURES)
        self.linear3 = nn.Linear(NUM_FEATURES, 10)

    def features(self, images: Tensor) -> Tensor:
        """Compute penultimate features (N, 84) of images (N, 1, H, W) in [0, 1] of the network's size."""
        x = F.max_pool2d(F.relu(self.conv1(2 * images - 1)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return F.relu(self.linear2(F.relu(self.linear1(x.flatten(1)))))

    def forward(self, images: Tensor) -> Tensor:
        """Compute class logits (N, 10)."""
        logits: Tensor = self.linear3(self.features(images))
        return logits


class LeNetExtractor(Extractor):
    """The LeNet of a published set and an image size that ships with nllgen.

    Args:
        device: of the network.
        image_size: height and width of the images.
        source: the set that it was trained on.
        weights: another weights file; a ``.json`` file of the same name holds its SHA-256.

    Raises:
        MetricInputError: there is no LeNet for that set and size.
        CorruptFileError: the file is missing, or has another SHA-256.
    """

    name = "lenet"
    dim = NUM_FEATURES
    channels = (1,)

    def __init__(
        self,
        device: torch.device | str,
        image_size: int = 28,
        source: str = "mnist",
        weights: str | Path | None = None,
    ):
        if (source, image_size) not in LENETS:
            text = without_lenet(source, (1, image_size, image_size))
            raise MetricInputError(text, f"LeNet reads images of {' or '.join(map(str, DESIGNS))}")
        self.device, network = torch.device(device), LeNet(image_size)
        path = Path(weights or Path(__file__).with_name(LENETS[source, image_size]))
        hint = f"install nllgen again, or create the file with: {command(source, image_size)}"
        with loading(path, "LeNet's weights", hint):
            expected = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["sha256"]
            state, self.sha256 = read_weights(path, expected, hint)
            network.load_state_dict(state)
        self.network = network.to(self.device).eval().requires_grad_(False)
        self.image_size = image_size

    def _forward(self, images: Tensor) -> Tensor:
        return self.network.features(images)


def command(source: str, image_size: int) -> str:
    """Return the command that makes the weights of a set and an image size."""
    file = LENETS[source, image_size]
    return f"python -m nllgen.metrics.train_lenet --set {source} --image-size {image_size} --assets DIR -o {file}"
