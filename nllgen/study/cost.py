"""What a cell will cost, from its configuration alone. No torch: a login node plans with this.

Counts are exact (they mirror ``nllgen.flow``); seconds and memory are estimates by :class:`Calibration`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from nllgen.study.config import Cell, FlowConfig, NSGANConfig, Precision, Study


@dataclass(frozen=True)
class Calibration:
    """Speed and size of one core, fitted to NLL steps of width 8 to 32 on an AMD EPYC with AVX-512 bf16, torch 2.13.

    Within a quarter of what was measured there (batches of 16 and 128, 14×14 and 28×28, one thread).

    Attributes:
        gflops_bf16, gflops_fp32: effective 10⁹ floating-point operations a second in convolutions.
        ns_per_activation: nanoseconds a feature-map value for all that is not a multiplication: memory, activation
            functions, the optimiser.
        s_per_coupling: fixed seconds for each pass through a coupling: Python and kernel launches.
        backward: passes that a backward pass costs.
        base_gb: torch itself.
        bytes_per_activation: kept for the backward pass, for each feature-map value.
    """

    gflops_bf16: float = 240.0
    gflops_fp32: float = 120.0
    ns_per_activation: float = 1.5
    s_per_coupling: float = 0.0009
    backward: float = 2.0
    base_gb: float = 0.5
    bytes_per_activation: float = 8.0


CALIBRATION = Calibration()


@dataclass(frozen=True)
class FlowCost:
    """A flow, counted.

    Attributes:
        num_parameters: trainable numbers; equal to ``RealNVP(config).num_parameters``.
        macs: multiply-accumulates of one pass, in either direction, of one image.
        activations: feature-map values of one pass of one image.
        num_couplings: couplings in a row.
    """

    num_parameters: int
    macs: int
    activations: int
    num_couplings: int


@dataclass(frozen=True)
class CellCost:
    """What one cell takes on one core.

    Attributes:
        seconds_per_step: of training.
        eval_seconds: of all evaluations together.
        memory_gb: at its peak.
    """

    seconds_per_step: float
    eval_seconds: float
    memory_gb: float


@dataclass(frozen=True)
class _Couplings:
    """``count`` equal couplings that each see ``half`` channels on a grid of ``sites``, behind an ActNorm."""

    count: int
    half: int
    width: int
    sites: int
    norm_channels: int


def _stages(config: FlowConfig) -> Iterator[_Couplings]:
    (c, h, w), width = config.shape, config.width
    for _ in range(config.scales - 1):
        yield _Couplings(3, 2 * c, width, -(-h // 2) * -(-w // 2), c)
        yield _Couplings(3, 2 * c, 2 * width, (h // 2) * (w // 2), 4 * c)
        c, h, w, width = 2 * c, h // 2, w // 2, 2 * width
    yield _Couplings(4, 2 * c, width, -(-h // 2) * -(-w // 2), c)


@lru_cache(maxsize=4096)
def flow_cost(config: FlowConfig) -> FlowCost:
    """Count a flow."""
    parameters = macs = activations = couplings = 0
    affine = config.coupling == "affine"
    for stage in _stages(config):
        out = 2 * stage.half if affine else stage.half
        inner = 2 * config.blocks  # 3×3 convolutions of width → width
        weights = 9 * stage.width * (stage.half + inner * stage.width + out)
        biases = stage.width * (1 + inner) + out
        scale = stage.half if affine else 0
        parameters += stage.count * (weights + biases + scale + 2 * stage.norm_channels)
        macs += stage.count * stage.sites * weights
        activations += stage.count * stage.sites * (stage.width * (1 + inner) + out + 2 * stage.half)
        couplings += stage.count
    return FlowCost(parameters, macs, activations, couplings)


def discriminator_macs(config: NSGANConfig, shape: tuple[int, int, int]) -> int:
    """Multiply-accumulates of one image: 5×5 convolutions of stride 2, to 1, 2 and 4 times ``disc_width``."""
    c, h, w = shape
    macs, channels = 0, c
    for factor in (1, 2, 4):
        h, w = -(-h // 2), -(-w // 2)
        macs += 25 * channels * factor * config.disc_width * h * w
        channels = factor * config.disc_width
    return macs


def pass_seconds(flow: FlowConfig, num_images: int, precision: Precision, batch_size: int = 256) -> float:
    """Seconds on one core of one pass of ``num_images``, forward or inverse, without gradients."""
    cost = flow_cost(flow)
    batches = -(-num_images // batch_size)
    per_image = 2e-9 * cost.macs / _gflops(precision) + 1e-9 * cost.activations * CALIBRATION.ns_per_activation
    return num_images * per_image + batches * cost.num_couplings * CALIBRATION.s_per_coupling


def cell_cost(cell: Cell, study: Study) -> CellCost:
    """Estimate a cell of a study; for the truth pass it as the cell."""
    truth = study.truth.flow if study.truth is not None and cell.data.source == "synthetic" else None
    return CellCost(
        _step_seconds(cell, truth if cell.data.num_train == "fresh" else None),
        _eval_seconds(cell, study, truth),
        _memory(cell),
    )


def dataset_seconds(study: Study) -> float:
    """Seconds on one core of drawing the synthetic set and its entropy: one inverse and one forward pass, fp32."""
    if study.truth is None or not study.needs_dataset:
        return 0.0
    data = study.dataset
    return 2 * pass_seconds(study.truth.flow, data.num_train + data.num_val + data.num_test + data.num_entropy, "fp32")


def _gflops(precision: Precision) -> float:
    return CALIBRATION.gflops_bf16 if precision == "bf16" else CALIBRATION.gflops_fp32


def _step_seconds(cell: Cell, fresh_from: FlowConfig | None) -> float:
    paradigm, batch = cell.paradigm, cell.paradigm.batch_size
    once = pass_seconds(cell.flow, batch, cell.precision, batch)
    with_gradient = 1 + CALIBRATION.backward
    seconds = with_gradient * once
    if isinstance(paradigm, NSGANConfig):
        # each discriminator step: generate, then real and fake with gradient; then one generator step through it
        disc = 2e-9 * batch * discriminator_macs(paradigm, cell.flow.shape) / _gflops(cell.precision)
        seconds += paradigm.disc_steps * (once + 2 * with_gradient * disc) + with_gradient * disc
    if fresh_from is not None:
        seconds += pass_seconds(fresh_from, batch, "fp32", batch)
    return seconds


def _eval_seconds(cell: Cell, study: Study, truth: FlowConfig | None) -> float:
    """All evaluations: densities of held-out and training images, samples, and the truth's density of those."""
    metrics, paradigm = study.metrics, cell.paradigm
    # start and end are always evaluated; the final one measures last, best and EMA on the test split
    regular = 1 + -(-paradigm.steps // paradigm.eval_every)
    weights = 2 if paradigm.ema_decay else 1
    samples = pass_seconds(cell.flow, metrics.num_samples, "fp32")
    if truth is not None:
        samples += pass_seconds(cell.flow, metrics.num_samples, "fp32")
        samples += pass_seconds(truth, metrics.num_samples, "fp32")
    densities = pass_seconds(cell.flow, metrics.num_train_eval, "fp32") + samples
    val = densities + pass_seconds(cell.flow, cell.data.num_val, "fp32")
    test = densities + pass_seconds(cell.flow, cell.data.num_test, "fp32")
    return regular * weights * val + (1 + weights) * test


def _memory(cell: Cell) -> float:
    cost = flow_cost(cell.flow)
    # weights, gradient, Adam's two moments, EMA and best: six numbers a parameter
    parameters = 6 * 4 * cost.num_parameters
    activations = cost.activations * cell.paradigm.batch_size * CALIBRATION.bytes_per_activation
    data = 50_000 if cell.data.num_train in ("all", "fresh") else cell.data.num_train
    images = 4 * cell.flow.num_dims * (int(data) + cell.data.num_val + cell.data.num_test)
    return CALIBRATION.base_gb + (parameters + activations + images) / 1e9
