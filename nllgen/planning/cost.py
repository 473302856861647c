"""The cost of a cell, from its configuration alone. No torch: a login node plans with this.

Counts are exact (:mod:`nllgen.planning.flops`); seconds and memory are estimates by :class:`Calibration`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from nllgen.planning.flops import ModelCost, discriminator_cost, model_cost
from nllgen.planning.metric_cost import OF_DENSITIES, OF_IMAGES, critic_seconds, image_metric_seconds
from nllgen.study.config import (
    MNIST_TRAIN,
    AdversarialConfig,
    AnyArchitecture,
    Cell,
    HybridConfig,
    MetricsConfig,
    NSGANConfig,
    OracleConfig,
    Precision,
    Study,
    WGANGPConfig,
)


@dataclass(frozen=True)
class Calibration:
    """Speed and size of one core, fitted to NLL steps of width 8 to 32 on an AMD EPYC with AVX-512 bf16, torch 2.13.

    Within a quarter of what was measured there (batches of 16 to 128, 14×14 and 28×28, one thread), for steps of every
    paradigm and of a DCGAN.

    Attributes:
        gflops_bf16, gflops_fp32: effective 10⁹ floating-point operations a second in convolutions.
        ns_per_activation: nanoseconds a feature-map value for all that is not a multiplication: memory, activation
            functions, the optimiser.
        s_per_coupling: fixed seconds for each pass through a coupling: Python and kernel launches.
        backward: passes that a backward pass costs; half of it where only inputs get a gradient.
        penalty: passes of the discriminator that a penalty on its input's gradient costs.
        prediction: passes of both players that predicting the critical step costs.
        base_gb: torch itself.
        bytes_bf16, bytes_fp32: kept for the backward pass, for each feature-map value of a flow.
        bytes_scored: of each feature-map value of the images that are scored at once, which keep nothing.
        num_scored: how many those are (``metrics.exact.BATCH``).
        bytes_disc: kept of each value of the discriminator's maps, at true and generated images.
    """

    gflops_bf16: float = 240.0
    gflops_fp32: float = 120.0
    ns_per_activation: float = 1.5
    s_per_coupling: float = 0.0009
    backward: float = 2.0
    penalty: float = 8.0
    prediction: float = 660.0
    base_gb: float = 0.42
    bytes_bf16: float = 4.0
    bytes_fp32: float = 5.6
    bytes_scored: float = 0.5
    num_scored: int = 500
    bytes_disc: float = 47.0


CALIBRATION = Calibration()


@dataclass(frozen=True)
class CellCost:
    """The cost of one cell on one core.

    Attributes:
        seconds_per_step: of training.
        prepare_seconds: before the first step: pretraining, and the prediction of the critical step.
        eval_seconds: of all evaluations together.
        memory_gb: at its peak.
    """

    seconds_per_step: float
    prepare_seconds: float
    eval_seconds: float
    memory_gb: float

    def seconds(self, steps: int, seconds_per_step: float | None = None, *, resumed: bool = False) -> float:
        """Return the seconds from start to end.

        Args:
            steps: steps of training that are left.
            seconds_per_step: measured; the estimate where None.
            resumed: whether the first step has been reached.
        """
        per_step = self.seconds_per_step if seconds_per_step is None else seconds_per_step
        return (0.0 if resumed else self.prepare_seconds) + steps * per_step + self.eval_seconds


def pass_seconds(model: AnyArchitecture, num_images: int, precision: Precision, batch_size: int = 256) -> float:
    """Return the seconds on one core of one pass of ``num_images``, forward or inverse, without gradients."""
    return _seconds(model_cost(model), num_images, precision, batch_size)


def _seconds(cost: ModelCost, num_images: int, precision: Precision, batch_size: int) -> float:
    batches = -(-num_images // batch_size)
    per_image = 2e-9 * cost.macs / _gflops(precision) + 1e-9 * cost.activations * CALIBRATION.ns_per_activation
    return num_images * per_image + batches * cost.num_layers * CALIBRATION.s_per_coupling


def cell_cost(cell: Cell, study: Study) -> CellCost:
    """Estimate the cost of a cell of a study, or of its truth."""
    truth = study.truth.real_nvp if study.truth is not None and cell.data.source == "synthetic" else None
    return CellCost(
        _step_seconds(cell, truth),
        _prepare_seconds(cell, truth) + _prediction_seconds(cell, study.metrics),
        _eval_seconds(cell, study, truth),
        _memory(cell),
    )


def dataset_seconds(study: Study) -> float:
    """Return the seconds on one core of the synthetic set and its entropy: one inverse and one forward pass, fp32."""
    if study.truth is None or not study.needs_dataset:
        return 0.0
    data = study.dataset
    return 2 * pass_seconds(
        study.truth.real_nvp, data.num_train + data.num_val + data.num_test + data.num_entropy, "fp32"
    )


def _gflops(precision: Precision) -> float:
    return CALIBRATION.gflops_bf16 if precision == "bf16" else CALIBRATION.gflops_fp32


def _step_seconds(cell: Cell, truth: AnyArchitecture | None) -> float:
    paradigm, batch, grad = cell.paradigm, cell.paradigm.batch_size, CALIBRATION.backward
    once = pass_seconds(cell.architecture, batch, cell.precision, batch)
    seconds = (1 + grad) * once
    if isinstance(paradigm, AdversarialConfig):
        # the last fakes of the discriminator's steps are those that the generator's gradient goes through
        seconds += paradigm.disc_steps * _disc_seconds(cell, truth) - once
        seconds += (1 + grad / 2) * _disc_pass(cell, paradigm)
        return seconds + (1 + grad) * once if isinstance(paradigm, HybridConfig) else seconds
    if isinstance(paradigm, OracleConfig):
        # both densities at the samples, with a gradient to those alone
        once_exact = [pass_seconds(model, batch, "fp32", batch) for model in (cell.architecture, truth) if model]
        return seconds + (1 + grad / 2) * sum(once_exact)
    return seconds + _fresh_seconds(cell, truth)


def _prepare_seconds(cell: Cell, truth: AnyArchitecture | None) -> float:
    paradigm = cell.paradigm
    steps = paradigm.pretrain_steps if isinstance(paradigm, AdversarialConfig) else 0
    return steps * _disc_seconds(cell, truth) if steps else 0.0


def _disc_seconds(cell: Cell, truth: AnyArchitecture | None) -> float:
    """Return the seconds of a discriminator's step: generate, real and fake with gradient, the graph of a penalty."""
    paradigm, batch = cell.paradigm, cell.paradigm.batch_size
    assert isinstance(paradigm, AdversarialConfig)
    seconds = pass_seconds(cell.architecture, batch, cell.precision, batch) + _fresh_seconds(cell, truth)
    seconds += 2 * (1 + CALIBRATION.backward) * _disc_pass(cell, paradigm)
    if has_penalty(cell):
        cost = discriminator_cost(paradigm.disc_width, cell.architecture.shape)
        seconds += CALIBRATION.penalty * _seconds(cost, batch, "fp32", batch)
    return seconds


def _disc_pass(cell: Cell, paradigm: AdversarialConfig) -> float:
    cost = discriminator_cost(paradigm.disc_width, cell.architecture.shape)
    return _seconds(cost, paradigm.batch_size, cell.precision, paradigm.batch_size)


def has_penalty(cell: Cell) -> bool:
    """Return whether the discriminator's loss has a penalty with second derivatives."""
    paradigm = cell.paradigm
    r1 = isinstance(paradigm, NSGANConfig | HybridConfig) and paradigm.r1_gamma > 0
    return r1 or isinstance(paradigm, WGANGPConfig)


def _fresh_seconds(cell: Cell, truth: AnyArchitecture | None) -> float:
    """Return the seconds of a batch of new images from the truth."""
    if truth is None or cell.data.num_train != "fresh":
        return 0.0
    return pass_seconds(truth, cell.paradigm.batch_size, "fp32", cell.paradigm.batch_size)


def _eval_seconds(cell: Cell, study: Study, truth: AnyArchitecture | None) -> float:
    """Return the seconds of all evaluations on validation, and of a final one of each kept model on the test split."""
    metrics, paradigm = study.metrics, cell.paradigm
    regular = 1 + -(-paradigm.steps // paradigm.eval_every)  # start and end are always evaluated
    weights = 2 if paradigm.ema_decay else 1
    kept = weights if cell.dcgan is not None else 1 + weights  # without a density none is the best
    num = metrics.samples_by_split
    val = _measure_seconds(cell, metrics, metrics.every, num["val"], cell.data.num_val, truth)
    test = _measure_seconds(cell, metrics, metrics.final, num["test"], cell.data.num_test, truth)
    return regular * weights * val + kept * test


def _prediction_seconds(cell: Cell, metrics: MetricsConfig) -> float:
    """Return the seconds of predicting the critical step: about 22 products with the game's Jacobian, in fp64."""
    paradigm, num = cell.paradigm, metrics.num_equilibrium
    if not (num and cell.has_prediction and cell.flow is not None and isinstance(paradigm, AdversarialConfig)):
        return 0.0
    disc = discriminator_cost(paradigm.disc_width, cell.architecture.shape)
    once = pass_seconds(cell.flow, num, "fp32") + _seconds(disc, num, "fp32", 256)
    return CALIBRATION.prediction * once


def _measure_seconds(
    cell: Cell,
    metrics: MetricsConfig,
    groups: Collection[str],
    num_samples: int,
    num_held_out: int,
    truth: AnyArchitecture | None,
) -> float:
    """Return the seconds of measuring one model once: densities of images, samples, both densities of the samples."""
    has_density = cell.dcgan is None
    against_truth = has_density and truth is not None and bool(OF_DENSITIES & set(groups))
    seconds = 0.0
    if has_density:
        seconds += pass_seconds(cell.architecture, metrics.num_train_eval + num_held_out, "fp32")
    if against_truth or "critic" in groups or (metrics.frechet and OF_IMAGES & set(groups)):
        seconds += pass_seconds(cell.architecture, num_samples, "fp32")
    if against_truth:
        assert truth is not None
        seconds += sum(pass_seconds(model, num_samples, "fp32") for model in (cell.architecture, truth))
    if "resampling" in groups and metrics.frechet and cell.flow is not None and cell.flow.scales > 1:
        seconds += 4 * pass_seconds(cell.architecture, num_samples, "fp32")  # two halves, there and back
    seconds += critic_seconds(groups, cell.architecture.num_dims)
    return seconds + image_metric_seconds(groups, metrics.frechet, num_samples, _num_kept(cell), num_held_out)


def _memory(cell: Cell) -> float:
    """Return the gigabytes of a run at its peak, within a fifth of measurements (benchmarks/results/memory.md)."""
    paradigm, cost = cell.paradigm, model_cost(cell.architecture)
    # weights, gradient, Adam's two moments, EMA and best: six numbers a parameter
    parameters = 6 * 4 * cost.num_parameters
    graphs = 2 if isinstance(paradigm, HybridConfig | OracleConfig) else 1  # there and back
    kept = CALIBRATION.bytes_bf16 if cell.precision == "bf16" else CALIBRATION.bytes_fp32
    activations = graphs * kept * cost.activations * paradigm.batch_size
    if isinstance(paradigm, AdversarialConfig):
        disc = discriminator_cost(paradigm.disc_width, cell.architecture.shape)
        parameters += 4 * 4 * disc.num_parameters
        activations += CALIBRATION.bytes_disc * disc.activations * paradigm.batch_size
    scored = CALIBRATION.bytes_scored * cost.activations * CALIBRATION.num_scored
    return CALIBRATION.base_gb + (parameters + max(activations, scored) + _image_bytes(cell)) / 1e9


def _image_bytes(cell: Cell) -> int:
    """Return the bytes of all images: MNIST is kept as bytes, a synthetic set and all held-out images as float32."""
    each = 1 if cell.data.source == "mnist" else 4
    return cell.architecture.num_dims * (each * _num_kept(cell) + 4 * (cell.data.num_val + cell.data.num_test))


def _num_kept(cell: Cell) -> int:
    """Return the number of training images in memory; 0 where each is fresh."""
    return int({"all": MNIST_TRAIN, "fresh": 0}.get(str(cell.data.num_train), cell.data.num_train))
