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
    GeneratorConfig,
    HybridConfig,
    NoiseConfig,
    NonSaturatingConfig,
    OracleConfig,
    Precision,
    Study,
    WGANGPConfig,
)
from nllgen.study.sections import LENET_SIZES


@dataclass(frozen=True)
class Calibration:
    """Speed and size of one core, fitted to NLL steps of width 8 to 32 on an AMD EPYC with AVX-512 bf16, torch 2.13.

    Within a quarter of what was measured there (batches of 16 to 128, 14×14 and 28×28, one thread), for steps of every
    paradigm and of a DCGAN.

    Attributes:
        gflops_bf16, gflops_fp32: effective 10⁹ floating-point operations a second in convolutions.
        ns_per_activation: nanoseconds a feature-map value for all that is not a multiplication: memory, activation
            functions, the optimiser.
        s_per_parameter: seconds of a normal random number and of the optimiser, for each parameter.
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
    s_per_parameter: float = 2e-8
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
        prepare_seconds: before the first step: pretraining, and the prediction of the critical step.
        eval_seconds: of all evaluations together.
        memory_gb: at its peak.
    """

    seconds_per_step: float
    prepare_seconds: float
    eval_seconds: float
    memory_gb: float

    def seconds(self, steps: int, seconds_per_step: float | None = None, *, resumed: bool = False) -> float:
        """Return the seconds of ``steps`` that are left, the estimated ones unless the seconds per step were measured.

        ``resumed`` leaves out what precedes the first step.
        """
        per_step = self.seconds_per_step if seconds_per_step is None else seconds_per_step
        return (0.0 if resumed else self.prepare_seconds) + steps * per_step + self.eval_seconds


def pass_seconds(model: AnyArchitecture, num_images: int, precision: Precision, batch_size: int = 256) -> float:
    """Return the seconds on one core of one pass of ``num_images``, forward or inverse, without gradients."""
    return _seconds(model_cost(model), num_images, precision, batch_size)


def _seconds(cost: ModelCost, num_images: int, precision: Precision, batch_size: int) -> float:
    batches = -(-num_images // batch_size)
    gflops = CALIBRATION.gflops_bf16 if precision == "bf16" else CALIBRATION.gflops_fp32
    per_image = 2e-9 * cost.macs / gflops + 1e-9 * cost.activations * CALIBRATION.ns_per_activation
    return num_images * per_image + batches * cost.num_layers * CALIBRATION.s_per_coupling


def cell_cost(cell: Cell, study: Study) -> CellCost:
    """Estimate the cost of a cell of a study, or of its truth."""
    run = _Run(cell, study)
    prepare_seconds = run.pretrain_seconds() + run.prediction_seconds()
    return CellCost(run.step_seconds(), prepare_seconds, run.eval_seconds(), _memory(cell))


def dataset_seconds(study: Study) -> float:
    """Return the seconds on one core of the synthetic set and its entropy: one inverse and one forward pass, fp32."""
    if study.truth is None or not study.needs_dataset:
        return 0.0
    data = study.dataset
    num_images = data.num_train + data.num_val + data.num_test + data.num_entropy
    return 2 * pass_seconds(study.truth.real_nvp, num_images, "fp32")


def has_penalty(cell: Cell) -> bool:
    """Return whether the discriminator's loss has a penalty with second derivatives."""
    paradigm = cell.paradigm
    is_penalised = isinstance(paradigm, NonSaturatingConfig) and max(paradigm.r1_gamma, paradigm.r2_gamma) > 0
    return is_penalised or isinstance(paradigm, WGANGPConfig)


class _Run:
    """The seconds on one core of the parts of a cell's run."""

    def __init__(self, cell: Cell, study: Study):
        truth = study.truth.real_nvp if study.truth is not None and cell.data.source == "synthetic" else None
        self.cell, self.metrics, self.truth = cell, study.metrics, truth
        self.model, self.paradigm, self.batch = cell.architecture, cell.paradigm, cell.paradigm.batch_size

    def step_seconds(self) -> float:
        """Return the seconds of a step of training."""
        paradigm, grad = self.paradigm, CALIBRATION.backward
        if isinstance(paradigm, NoiseConfig):
            return CALIBRATION.s_per_parameter * model_cost(self.model).num_parameters
        once = pass_seconds(self.model, self.batch, self.cell.precision, self.batch)
        seconds = (1 + grad) * once
        if isinstance(paradigm, AdversarialConfig):
            # the last fakes of the discriminator's steps are those that the generator's gradient goes through
            seconds += paradigm.disc_steps * self._disc_seconds(paradigm) - once
            seconds += (1 + grad / 2) * self._disc_pass(paradigm)
            return seconds + (1 + grad) * once if isinstance(paradigm, HybridConfig) else seconds
        if isinstance(paradigm, OracleConfig):
            # both densities at the samples, with a gradient to those alone
            exact = [pass_seconds(model, self.batch, "fp32", self.batch) for model in (self.model, self.truth) if model]
            return seconds + (1 + grad / 2) * sum(exact)
        return seconds + self._fresh_seconds()

    def pretrain_seconds(self) -> float:
        """Return the seconds of the discriminator's steps before the first one of the generator."""
        paradigm = self.paradigm
        if not isinstance(paradigm, AdversarialConfig):
            return 0.0
        return paradigm.pretrain_steps * self._disc_seconds(paradigm)

    def prediction_seconds(self) -> float:
        """Return the seconds of predicting the critical step: about 22 products with the game's Jacobian, in fp64."""
        paradigm, num = self.paradigm, self.metrics.num_equilibrium
        if not (num and self.cell.has_prediction and self.cell.flow and isinstance(paradigm, AdversarialConfig)):
            return 0.0
        return CALIBRATION.prediction * (
            pass_seconds(self.cell.flow, num, "fp32") + _seconds(_disc_cost(self.cell, paradigm), num, "fp32", 256)
        )

    def eval_seconds(self) -> float:
        """Return the seconds of all evaluations on validation, and of each kept model's final one on the test split."""
        metrics, data = self.metrics, self.cell.data
        regular = 1 + -(-self.paradigm.steps // self.paradigm.eval_every)  # start and end are always evaluated
        weights = 2 if self.paradigm.ema_decay else 1
        kept = weights + self._has_best()
        num = metrics.samples_by_split
        val = self._measure_seconds(self.cell.groups_every(metrics), num["val"], data.num_val)
        test = self._measure_seconds(metrics.final, num["test"], data.num_test)
        return regular * weights * val + kept * test

    def _has_best(self) -> bool:
        """Return whether validation chooses best weights: by likelihood, or by a Fréchet distance."""
        is_by_distance = isinstance(self.paradigm, GeneratorConfig) and self.paradigm.best_by == "frechet"
        return self.cell.dcgan is None or (is_by_distance and self.cell.data.image_size in LENET_SIZES)

    def _disc_seconds(self, paradigm: AdversarialConfig) -> float:
        """Return the seconds of a discriminator's step: generate, real and fake with gradient, graph of a penalty."""
        seconds = pass_seconds(self.model, self.batch, self.cell.precision, self.batch) + self._fresh_seconds()
        seconds += 2 * (1 + CALIBRATION.backward) * self._disc_pass(paradigm)
        if has_penalty(self.cell):
            cost = _disc_cost(self.cell, paradigm)
            seconds += CALIBRATION.penalty * _seconds(cost, self.batch, "fp32", self.batch)
        return seconds

    def _disc_pass(self, paradigm: AdversarialConfig) -> float:
        return _seconds(_disc_cost(self.cell, paradigm), self.batch, self.cell.precision, self.batch)

    def _fresh_seconds(self) -> float:
        """Return the seconds of a batch of new images from the truth."""
        if self.truth is None or self.cell.data.num_train != "fresh":
            return 0.0
        return pass_seconds(self.truth, self.batch, "fp32", self.batch)

    def _measure_seconds(self, groups: Collection[str], num_samples: int, num_held_out: int) -> float:
        """Return the seconds of measuring one model once: densities of images, samples, both densities of samples."""
        cell, metrics, model = self.cell, self.metrics, self.model
        has_density = cell.dcgan is None
        truth = self.truth if has_density and OF_DENSITIES & set(groups) else None
        seconds = 0.0
        if has_density:
            seconds += pass_seconds(model, metrics.num_train_eval + num_held_out, "fp32")
        if truth is not None or "critic" in groups or (metrics.frechet and OF_IMAGES & set(groups)):
            seconds += pass_seconds(model, num_samples, "fp32")
        if truth is not None:
            seconds += pass_seconds(model, num_samples, "fp32") + pass_seconds(truth, num_samples, "fp32")
        if "resampling" in groups and metrics.frechet and cell.flow is not None and cell.flow.scales > 1:
            seconds += 4 * pass_seconds(model, num_samples, "fp32")  # two halves, there and back
        seconds += critic_seconds(groups, model.num_dims)
        return seconds + image_metric_seconds(groups, metrics.frechet, num_samples, _num_kept(cell), num_held_out)


def _disc_cost(cell: Cell, paradigm: AdversarialConfig) -> ModelCost:
    return discriminator_cost(paradigm.disc_width, cell.architecture.shape)


def _memory(cell: Cell) -> float:
    """Return the gigabytes of a run at its peak, within a fifth of measurements (benchmarks/results/memory.md)."""
    paradigm, cost = cell.paradigm, model_cost(cell.architecture)
    # weights, gradient, Adam's two moments, EMA and best: six numbers a parameter
    parameters = 6 * 4 * cost.num_parameters
    graphs = 2 if isinstance(paradigm, HybridConfig | OracleConfig) else 1  # there and back
    kept = CALIBRATION.bytes_bf16 if cell.precision == "bf16" else CALIBRATION.bytes_fp32
    activations = graphs * kept * cost.activations * paradigm.batch_size
    if isinstance(paradigm, AdversarialConfig):
        disc = _disc_cost(cell, paradigm)
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
