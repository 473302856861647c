"""Speed of training and sampling as in the worker, beside the limit of the processor's convolutions."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Literal, cast

import torch
from torch import Tensor

from nllgen.data.sources import Finite
from nllgen.models import RealNVP
from nllgen.study.config import Cell, DataConfig, FlowConfig, NLLConfig, NSGANConfig, Precision
from nllgen.study.hardware import auto_precision
from nllgen.train.precision import autocast
from nllgen.train.state import TrainState
from nllgen.worker.factory import CellData, make_state
from nllgen.worker.setup import keep_freed_memory

CPU = torch.device("cpu")
BATCH = 128


def nll_step(width: int, blocks: int, x: Tensor, precision: Precision | None = None) -> Callable[[], float]:
    """Return an NLL training step on the batch ``x`` (N, C, H, W), as in the worker; a call returns its loss."""
    return _step(NLLConfig(batch_size=len(x), steps=10**8), width, blocks, x, "train_nll_nats", precision)


def nsgan_step(width: int, blocks: int, x: Tensor) -> Callable[[], float]:
    """Return a step of discriminator and generator on the batch ``x``; a call returns the generator's loss."""
    return _step(NSGANConfig(batch_size=len(x), steps=10**8), width, blocks, x, "loss_gen")


def _step(
    paradigm: NLLConfig | NSGANConfig, width: int, blocks: int, x: Tensor, loss: str, precision: Precision | None = None
) -> Callable[[], float]:
    keep_freed_memory()
    state = training_state(paradigm, width, blocks, x, precision)
    counter = iter(range(10**9))
    return lambda: float(state.paradigm.step(lambda n: x, next(counter))[loss])


def training_state(
    paradigm: NLLConfig | NSGANConfig, width: int, blocks: int, x: Tensor, precision: Precision | None = None
) -> TrainState:
    """Return the state of step 0 of a cell on the images ``x``, as the worker makes it on their device."""
    shape = (x.shape[1], x.shape[2], x.shape[3])
    cell = Cell(
        data=DataConfig(image_size=cast("Literal[28, 14, 7]", shape[1])),
        flow=FlowConfig(shape=shape, width=width, blocks=blocks),
        paradigm=paradigm,
        precision=precision or auto_precision(),
    )
    return make_state(cell, CellData(lambda order, noise: Finite(x, order), {}, training=None), None, x.device)


def sampling(width: int, blocks: int, n: int) -> Callable[[], Tensor]:
    """Return a function that draws n images as the adversarial step does, in the precision of training."""
    state = training_state(NLLConfig(), width, blocks, torch.randn(BATCH, 1, 28, 28))
    generator, flow = torch.Generator().manual_seed(0), state.flow
    assert isinstance(flow, RealNVP)

    @torch.no_grad()
    def draw() -> Tensor:
        with autocast(state.cell.precision, CPU):
            return flow.sample(n, generator)

    return draw


def conv_limit(
    channels: int, size: int, batch: int = BATCH, device: torch.device = CPU, precision: Precision | None = None
) -> float:
    """Return the GFLOP/s of one 3×3 convolution, forward and backward, in the precision of training."""
    dtype = torch.bfloat16 if (precision or auto_precision()) == "bf16" else torch.float32
    to = partial(torch.Tensor.to, device=device, dtype=dtype, memory_format=torch.channels_last)
    x, weight = to(torch.randn(batch, channels, size, size)), to(torch.randn(channels, channels, 3, 3))
    x.requires_grad_()
    weight.requires_grad_()
    upstream = torch.randn_like(x)

    def both() -> None:
        torch.autograd.grad(torch.conv2d(x, weight, padding=1), (x, weight), upstream)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    flop = 3 * 2 * batch * size * size * 9 * channels * channels
    return flop / median_seconds(both) / 1e9


def median_seconds(work: Callable[[], object], rounds: int = 15) -> float:
    """Return the median time of a call, after two to warm up."""
    work()
    work()
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def rows() -> list[tuple[str, str, str]]:
    """Return rows of (work, measured, goal)."""
    x = torch.randn(BATCH, 1, 28, 28)
    table = []
    for width, blocks in ((32, 2), (32, 4), (16, 1)):
        rate = BATCH / median_seconds(nll_step(width, blocks, x))
        goal = "≥ 380 with matrix units" if (width, blocks) == (32, 2) else ""
        table.append((f"NLL step, width {width}, {blocks} blocks, batch {BATCH}, 28×28", f"{rate:.0f} images/s", goal))
    rate = 512 / median_seconds(partial(sampling(32, 2, 512)))
    table.append(("sampling, width 32, 2 blocks", f"{rate:.0f} images/s", "≥ 1,000"))
    for channels, size in ((32, 14), (64, 14), (64, 7)):
        table.append(
            (
                f"limit: 3×3 convolution, {channels} → {channels}, {size}×{size}",
                f"{conv_limit(channels, size):.0f} GFLOP/s",
                "",
            )
        )
    return table
