"""Train the LeNet that ships with nllgen: ``python -m nllgen.metrics.train_lenet --assets DIR -o lenet.pt``.

On MNIST's first 50,000 training images, so that validation and test images are new to it. One thread and a fixed seed:
the same torch on the same kind of processor writes the same bytes.
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
from nllgen.metrics.lenet import IMAGE_SIZE, LeNet
from nllgen.torchvision_ops import import_torchvision

SEED = 0
NUM_TRAIN = 50_000
EPOCHS = 12
BATCH_SIZE = 128
PEAK_LR = 2e-3
WEIGHT_DECAY = 1e-4
MAX_SHIFT = 2  # pixels: digits of a generative model are not all centred alike


def main() -> None:
    """Train, print the accuracies, write the weights and their record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--assets", type=Path, required=True, help="asset folder with mnist in it")
    parser.add_argument("-o", "--output", type=Path, required=True, help="weights file; its record goes beside it")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    images, labels = _read(arguments.assets / "mnist", "train")
    network = train(images[:NUM_TRAIN], labels[:NUM_TRAIN])
    found = {
        "validation_accuracy": accuracy(network, images[NUM_TRAIN:], labels[NUM_TRAIN:]),
        "test_accuracy": accuracy(network, *_read(arguments.assets / "mnist", "t10k")),
    }
    print(json.dumps(found))
    _write(arguments.output, network, found)


def train(images: Tensor, labels: Tensor, epochs: int = EPOCHS) -> LeNet:
    """AdamW with a one-cycle rate on randomly shifted digits.

    Args:
        images: (N, 1, 28, 28) in [0, 1].
        labels: (N,) in 0…9.
        epochs: passes over the images.
    """
    torch.manual_seed(SEED)
    network = LeNet()
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
    """Share of images (N, 1, H, W) that get their own label."""
    right = [
        network(x).argmax(1) == y for x, y in zip(torch.split(images, 1000), torch.split(labels, 1000), strict=True)
    ]
    return torch.cat(right).double().mean().item()


def _shift(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image moved by up to ``MAX_SHIFT`` pixels each way, black coming in."""
    num, (dy, dx) = len(images), torch.randint(0, 2 * MAX_SHIFT + 1, (2, len(images)), generator=generator)
    padded = F.pad(images[:, 0], (MAX_SHIFT,) * 4)
    pixel = torch.arange(IMAGE_SIZE)
    rows, columns = dy[:, None] + pixel, dx[:, None] + pixel
    return padded[torch.arange(num)[:, None, None], rows[:, :, None], columns[:, None, :]][:, None]


def _read(folder: Path, split: str) -> tuple[Tensor, Tensor]:
    # torchvision's reader, as metrics must not import data.
    mnist = import_torchvision().datasets.mnist
    try:
        images = mnist.read_image_file(folder / f"{split}-images-idx3-ubyte")
        labels = mnist.read_label_file(folder / f"{split}-labels-idx1-ubyte")
    except (OSError, ValueError, AssertionError) as error:
        raise AssetError(f"MNIST cannot be read from {folder}: {error}", "run: nllgen assets fetch mnist") from error
    return images[:, None].float() / 255, labels.long()


def _write(output: Path, network: LeNet, found: dict[str, float]) -> None:
    buffer = io.BytesIO()  # a path's name would go into the archive and so into the hash
    torch.save(network.state_dict(), buffer)
    data = buffer.getvalue()
    record = {
        "sha256": hashlib.sha256(data).hexdigest(),
        **found,
        "made_by": "python -m nllgen.metrics.train_lenet --assets DIR -o lenet.pt",
        "seed": SEED,
        "torch": str(torch.__version__),
    }
    output.write_bytes(data)
    output.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"{output}: {len(data)} bytes, SHA-256 {record['sha256']}")


if __name__ == "__main__":
    main()
