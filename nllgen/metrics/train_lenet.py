"""Train a LeNet that ships with nllgen: ``python -m nllgen.metrics.train_lenet --assets DIR -o lenet.pt``.

It is trained on the first 50,000 training images of MNIST or Fashion-MNIST, so that validation and test images are new
to it. It uses one thread and a fixed seed: the same torch on the same type of processor writes the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from nllgen.errors import AssetError
from nllgen.metrics.lenet import DESIGNS, LeNet, command
from nllgen.study.lenets import LENETS
from nllgen.torchvision_ops import import_torchvision

SETS = tuple(dict.fromkeys(source for source, _ in LENETS))
SEED = 0
NUM_TRAIN = 50_000
EPOCHS = 12
BATCH_SIZE = 128
PEAK_LR = 2e-3
WEIGHT_DECAY = 1e-4
MAX_SHIFT = {28: 2, 14: 1}  # pixels: images of a generative model are not centred exactly


def main() -> None:
    """Train, print the accuracies, and write the weights and their record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--assets", type=Path, required=True, help="asset directory that contains the set")
    parser.add_argument("--set", dest="source", choices=SETS, default=SETS[0], help="published set of images")
    parser.add_argument("--image-size", type=int, choices=sorted(DESIGNS), default=28, help="height and width")
    parser.add_argument("-o", "--output", type=Path, required=True, help="weights file, beside its record in .json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    size, source = arguments.image_size, arguments.source
    images, labels = _read(arguments.assets, source, "train", size)
    network = train(images[:NUM_TRAIN], labels[:NUM_TRAIN])
    accuracies = {
        "validation_accuracy": accuracy(network, images[NUM_TRAIN:], labels[NUM_TRAIN:]),
        "test_accuracy": accuracy(network, *_read(arguments.assets, source, "t10k", size)),
    }
    print(json.dumps(accuracies))
    _write(arguments.output, network, source, accuracies)


def train(images: Tensor, labels: Tensor, epochs: int = EPOCHS) -> LeNet:
    """Train by AdamW with a one-cycle learning rate on randomly shifted images (N, 1, H, H) with labels (N,)."""
    torch.manual_seed(SEED)
    network = LeNet(images.shape[-1])
    generator = torch.Generator().manual_seed(SEED)
    optimiser = torch.optim.AdamW(network.parameters(), lr=PEAK_LR, weight_decay=WEIGHT_DECAY)
    steps = epochs * (len(images) // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_LR, total_steps=steps)
    for epoch in range(epochs):
        order = torch.randperm(len(images), generator=generator)
        total = 0.0
        for batch in torch.split(order, BATCH_SIZE)[: len(images) // BATCH_SIZE]:
            loss = F.cross_entropy(network(_shift(images[batch], generator)), labels[batch])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            total += loss.item() * BATCH_SIZE / len(images)
        print(f"epoch {epoch + 1}/{epochs}: loss {total:.4f}", flush=True)
    return network.eval()


@torch.inference_mode()
def accuracy(network: LeNet, images: Tensor, labels: Tensor) -> float:
    """Return the fraction of images (N, 1, H, W) that are classified correctly."""
    batches = zip(torch.split(images, 1000), torch.split(labels, 1000), strict=True)
    return torch.cat([network(x).argmax(1) == y for x, y in batches]).double().mean().item()


def _shift(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift each image by up to ``MAX_SHIFT`` pixels in each direction, padding with black."""
    size = images.shape[-1]
    most = MAX_SHIFT[size]
    num, (dy, dx) = len(images), torch.randint(0, 2 * most + 1, (2, len(images)), generator=generator)
    padded = F.pad(images[:, 0], (most,) * 4)
    pixel = torch.arange(size)
    rows, columns = dy[:, None] + pixel, dx[:, None] + pixel
    return padded[torch.arange(num)[:, None, None], rows[:, :, None], columns[:, None, :]][:, None]


def _read(assets: Path, source: str, split: str, size: int) -> tuple[Tensor, Tensor]:
    """Read a split; smaller images are means over blocks, rounded to 8-bit levels, as studies have them."""
    # torchvision's reader, because metrics must not import data
    mnist, directory = import_torchvision().datasets.mnist, assets / source
    try:
        images = mnist.read_image_file(directory / f"{split}-images-idx3-ubyte")
        labels = mnist.read_label_file(directory / f"{split}-labels-idx1-ubyte")
    except (OSError, ValueError, AssertionError) as error:
        hint = f"run: nllgen assets fetch {source}"
        raise AssetError(f"{source} cannot be read from {directory}: {error}", hint) from error
    levels = images[:, None].float()
    shrunk = F.avg_pool2d(levels, levels.shape[-1] // size).round()
    return shrunk / 255, labels.long()


def _write(output: Path, network: LeNet, source: str, accuracies: dict[str, float]) -> None:
    buffer = io.BytesIO()  # saved to a path, the archive and its hash would contain the file's name
    torch.save(network.state_dict(), buffer)
    data = buffer.getvalue()
    record = {
        "sha256": hashlib.sha256(data).hexdigest(),
        **accuracies,
        "made_by": command(source, network.image_size),
        "seed": SEED,
        "torch": str(torch.__version__),
    }
    output.write_bytes(data)
    output.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"{output}: {len(data)} bytes, SHA-256 {record['sha256']}")


if __name__ == "__main__":
    main()
