"""Add a pretrained truth to nllgen: ``python -m benchmarks.pack_truth TRUTH.pt NAME COMMAND DESCRIPTION``.

The directory ``nllgen/study/truths/NAME`` gets the frozen weights and a card with the command that trained them, the
description and the bits per dimension on MNIST's test images, dequantised once with a fixed seed.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import torch

from nllgen import assets
from nllgen.data.logits import dequantise, log_det_levels, to_logits
from nllgen.data.published import load_published
from nllgen.data.truth import Truth, load_truth
from nllgen.metrics.exact import bits_per_dim, log_densities
from nllgen.storage.atomic import make_folder, write_bytes
from nllgen.study import pretrained
from nllgen.study.pretrained import Card

NOISE_SEED = 1


def bits_on_mnist(truth: Truth) -> float:
    """Return a truth's bits per dimension on MNIST's test images at its size, with the Jacobian to 256 levels."""
    config = truth.cell.data
    images = load_published(assets.require_images(assets.asset_folder(), "mnist"), config.image_size)
    x = to_logits(dequantise(images.test.images, torch.Generator().manual_seed(NOISE_SEED)), config.alpha)
    nll = -float(log_densities(truth.flow, x).mean())
    return bits_per_dim(nll, float(log_det_levels(x, config.alpha).mean()), x[0].numel())


def main() -> None:
    """Write the directory of one truth."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("weights", "name", "command", "description"):
        parser.add_argument(name)
    options = parser.parse_args()
    content = Path(options.weights).read_bytes()
    truth = load_truth(Path(options.weights), torch.device("cpu"))
    card = Card(
        description=options.description,
        cell=truth.cell,
        command=options.command,
        sha256=hashlib.sha256(content).hexdigest(),
        bits_per_dim=round(bits_on_mnist(truth), 4),
        num_params=truth.flow.num_parameters,
    )
    directory = make_folder(Path(pretrained.__file__).with_name("truths") / options.name)
    write_bytes(directory / "truth.pt", content)
    write_bytes(directory / "card.json", (card.model_dump_json(indent=1) + "\n").encode())
    print(f"{directory}: {card.num_params:,} parameters, {card.bits_per_dim:.4f} bits/dim")


if __name__ == "__main__":
    main()
