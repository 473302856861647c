"""The same work by nllgen and by other libraries, in turns in one run, so that ratios do not depend on the machine.

deeprob-kit's ``RealNVP2d`` has the same couplings, widths and residual blocks at each of its two scales. torchflows'
``MultiscaleRealNVP`` at its defaults and normflows' Glow have other networks: their rows show their users' speed.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus
from torch.utils.data import DataLoader, Dataset

from benchmarks.packing import Step, images_per_second, packed
from benchmarks.steps import BATCH, CPU, median_seconds, nll_step, nsgan_step, sampling
from nllgen.data.sources import Dequantised
from nllgen.paradigms.discriminator import Discriminator
from nllgen.torchvision_ops import import_torchvision

ROUNDS = 9
_ALPHA = 1e-6


def paired(ours: Step, peer: Step, rounds: int = ROUNDS) -> tuple[float, float]:
    """Return the median seconds of both, measured in turns after two calls to warm up."""
    times: dict[Step, list[float]] = {ours: [], peer: []}
    for i in range(rounds + 2):
        for work, seen in times.items():
            started = time.perf_counter()
            work()
            if i >= 2:
                seen.append(time.perf_counter() - started)
    return statistics.median(times[ours]), statistics.median(times[peer])


def deeprob_flow(width: int, blocks: int, device: torch.device = CPU) -> Any:
    """Return deeprob-kit's flow at two scales."""
    from deeprob.flows.models.realnvp import RealNVP2d

    torch.manual_seed(0)
    flow = RealNVP2d((1, 28, 28), n_flows=1, n_blocks=blocks, channels=width)
    return flow.to(device).train()


def _nll(flow: torch.nn.Module, log_prob: Callable[[Tensor], Tensor], x: Tensor) -> Step:
    optimizer = torch.optim.Adam(flow.parameters(), 1e-3)

    def step() -> float:
        optimizer.zero_grad()
        loss = -log_prob(x).mean()
        loss.backward()
        optimizer.step()
        return float(loss)

    return step


def deeprob_nll(width: int, blocks: int, x: Tensor) -> Step:
    """Return an NLL step of deeprob-kit's flow, as in its own training loop."""
    flow = deeprob_flow(width, blocks, x.device)
    return _nll(flow, flow, x)


def torchflows_flow(shape: tuple[int, int, int]) -> Any:
    """Return torchflows' multi-scale Real NVP at its defaults."""
    from torchflows.bijections.finite.multiscale.architectures import MultiscaleRealNVP
    from torchflows.flows import Flow

    torch.manual_seed(0)
    return Flow(MultiscaleRealNVP(shape)).train()


def torchflows_nll(x: Tensor) -> Step:
    """Return an NLL step of torchflows' flow."""
    flow = torchflows_flow((x.shape[1], x.shape[2], x.shape[3])).to(x.device)
    return _nll(flow, flow.log_prob, x)


def normflows_glow(width: int, height: int) -> Any:
    """Return normflows' Glow at two scales of four blocks, built as in its image example."""
    import normflows

    torch.manual_seed(0)
    channels = 1
    flows, merges, bases = [], [], []
    for i in range(2):
        blocks = [normflows.flows.GlowBlock(channels * 2 ** (3 - i), width) for _ in range(4)]
        flows.append([*blocks, normflows.flows.Squeeze()])
        merges += [normflows.flows.Merge()] if i else []
        shape = (channels * 2 ** (2 - i), height // 2 ** (2 - i)) if i else (channels * 8, height // 4)
        bases.append(normflows.distributions.DiagGaussian((*shape, shape[1])))
    return normflows.MultiscaleFlow(bases, flows, merges, class_cond=False).train()


def normflows_nll(width: int, x: Tensor) -> Step:
    """Return an NLL step of normflows' Glow."""
    flow = normflows_glow(width, x.shape[2])
    return _nll(flow, lambda images: -flow.forward_kld(images), x)


def deeprob_nsgan(width: int, blocks: int, x: Tensor) -> Step:
    """Return an NSGAN step of deeprob-kit's flow with nllgen's losses and discriminator."""
    flow, disc = deeprob_flow(width, blocks), Discriminator((1, 28, 28), 32, torch.Generator().manual_seed(0))
    gen_optimizer = torch.optim.Adam(flow.parameters(), 2e-4, betas=(0.5, 0.999))
    disc_optimizer = torch.optim.Adam(disc.parameters(), 2e-4, betas=(0.5, 0.999))

    def step() -> float:
        fake = torch.sigmoid(flow.apply_forward(torch.randn(len(x), *flow.in_base.mean.shape))[0]) * 2 - 1
        disc_optimizer.zero_grad()
        disc_loss = softplus(-disc(torch.sigmoid(x) * 2 - 1)).mean() + softplus(disc(fake.detach())).mean()
        disc_loss.backward()
        disc_optimizer.step()
        gen_optimizer.zero_grad()
        loss = softplus(-disc(fake)).mean()
        loss.backward()
        gen_optimizer.step()
        return float(loss)

    return step


def deeprob_sampling(width: int, blocks: int, n: int) -> Step:
    """Return a function that draws n images of deeprob-kit's flow."""
    flow = deeprob_flow(width, blocks).eval()
    return torch.no_grad()(partial(flow.sample, n))


def _logit(level: Tensor) -> Tensor:
    u = _ALPHA + (1 - 2 * _ALPHA) * (level.float() + torch.rand(level.shape)) / 256
    return torch.log(u) - torch.log1p(-u)


class _Bare(Dataset[Tensor]):
    """A minimal dataset for a DataLoader: a tensor in memory, image by image."""

    def __init__(self, levels: Tensor):
        self._levels = levels

    def __len__(self) -> int:
        return len(self._levels)

    def __getitem__(self, index: int) -> Tensor:
        return _logit(self._levels[index])


def _torchvision_mnist(root: Path, levels: Tensor) -> Dataset[Any]:
    """Return torchvision's MNIST of these images with the usual transform from PIL images."""
    torchvision = import_torchvision()
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    head = b"".join(n.to_bytes(4, "big") for n in (0x803, len(levels), *levels.shape[2:]))
    for part in ("train", "t10k"):  # it asks for all four files
        (raw / f"{part}-images-idx3-ubyte").write_bytes(head + levels.numpy().tobytes())
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(
            b"".join(n.to_bytes(4, "big") for n in (0x801, len(levels))) + bytes(len(levels))
        )
    transform = torchvision.transforms.Compose([torchvision.transforms.PILToTensor(), _logit])
    mnist: Dataset[Any] = torchvision.datasets.MNIST(root, transform=transform)
    return mnist


def _epoch_by_loader(images: Dataset[Any]) -> Step:
    """Return an epoch of dequantised logits by a DataLoader with two workers."""
    loader = DataLoader(images, BATCH, shuffle=True, num_workers=2, persistent_workers=True, drop_last=True)
    return lambda: sum(1 for _ in loader)


def _epoch(levels: Tensor) -> Step:
    order, noise = torch.Generator().manual_seed(0), torch.Generator().manual_seed(1)
    source = Dequantised(levels, order, noise, _ALPHA)
    return lambda: [source.next(BATCH) for _ in range(len(levels) // BATCH)]


def _beside_packed(width: int, blocks: int, x: Tensor, peer: Step) -> tuple[float, float]:
    """Return images a second of one run on each core in total, and of the peer on all cores, in turns."""
    peer()
    ours, theirs = [], []
    with packed(partial(nll_step, width, blocks, x)) as rate:
        for _ in range(5):
            ours.append(rate())
            theirs.append(images_per_second(peer))
    return statistics.median(ours), statistics.median(theirs)


def rows() -> list[tuple[str, str, str]]:
    """Return rows of (work, measured, goal)."""
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    x = torch.randn(BATCH, 1, 28, 28)
    name, table = "deeprob-kit", []

    def add(what: str, ours: Step, peer: Step, images: int, goal: str, by: str = name) -> None:
        a, b = paired(ours, peer)
        table.append((what, f"{images / a:,.0f} images/s; {by} {images / b:,.0f}: {b / a:.1f}×", goal))

    for width, blocks, goal in ((32, 2, "≥ 6×"), (32, 4, "≥ 6×"), (16, 1, "—")):
        ours, peer = nll_step(width, blocks, x), deeprob_nll(width, blocks, x)
        add(f"NLL step, width {width}, {blocks} blocks", ours, peer, BATCH, goal)
    a, b = _beside_packed(16, 1, x, deeprob_nll(16, 1, x))
    what = "two packed runs, a core each, width 16, 1 block"
    table.append((what, f"{a:,.0f} images/s; {name} on both cores {b:,.0f}: {a / b:.1f}×", "≥ 6×"))
    add("the same in fp32, width 32, 2 blocks", nll_step(32, 2, x, "fp32"), deeprob_nll(32, 2, x), BATCH, "≥ 1.6×")
    add("NLL step, width 32, 2 blocks", nll_step(32, 2, x), torchflows_nll(x), BATCH, "—", "torchflows")
    add("NLL step, width 32, 2 blocks", nll_step(32, 2, x), normflows_nll(32, x), BATCH, "—", "normflows")
    add("NSGAN step, width 32, 2 blocks", nsgan_step(32, 2, x), deeprob_nsgan(32, 2, x), BATCH, "≥ 4×")
    add("sampling, width 32, 2 blocks", sampling(32, 2, 512), deeprob_sampling(32, 2, 512), 512, "≥ 6×")
    return [*table, *_loading(median_seconds(nll_step(32, 2, x)))]


def _loading(step_seconds: float) -> list[tuple[str, str, str]]:
    levels = torch.randint(0, 256, (50_000, 1, 28, 28), dtype=torch.uint8)
    num_batches, table = len(levels) // BATCH, []
    with tempfile.TemporaryDirectory() as root:
        peers = {
            "torchvision's MNIST": (_torchvision_mnist(Path(root), levels), "≥ 10×"),
            "a bare tensor": (_Bare(levels), "—"),
        }
        for name, (images, goal) in peers.items():
            a, b = paired(_epoch(levels), _epoch_by_loader(images), rounds=3)
            ratio = f"{b / a:.1f}× {name} in a DataLoader with two workers"
            table.append(("MNIST: batches of dequantised logits", ratio, goal))
    share = f"{a / num_batches * 1e3:.2f} ms, {a / num_batches / step_seconds:.2%}"
    return [*table, ("a batch of them, and its share of a step", share, "< 1 %")]
