"""The cost of a cell, from its configuration alone. No torch: a login node plans with this.

Counts are exact (:mod:`nllgen.planning.flops`); seconds and memory are estimates by a :class:`Calibration`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nllgen.planning.calibration import SHIPPED, Calibration
from nllgen.planning.flops import ModelCost, discriminator_cost, model_cost
from nllgen.planning.metric_cost import OF_DENSITIES, OF_IMAGES, critic_seconds, image_metric_seconds, once_seconds
from nllgen.study.config import (
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
from nllgen.study.lenets import domain_of, has_lenet

if TYPE_CHECKING:
    from nllgen.study.run_options import CellTiming


@dataclass(frozen=True)
class CellCost:
    """The cost of one cell on one core.

    Attributes:
        prepare_seconds: before the first step: pretraining, and the prediction of the critical step.
        eval_seconds: of all evaluations together.
        run_seconds: of a run beside its steps and evaluations.
        memory_gb: at its peak.
    """

    seconds_per_step: float
    prepare_seconds: float
    eval_seconds: float
    memory_gb: float
    run_seconds: float = 0.0

    def seconds(self, steps: int, seconds_per_step: float | None = None, *, resumed: bool = False) -> float:
        """Return the seconds of ``steps`` that are left, the estimated ones unless the seconds per step were measured.

        ``resumed`` leaves out what precedes the first step.
        """
        per_step = self.seconds_per_step if seconds_per_step is None else seconds_per_step
        return (0.0 if resumed else self.prepare_seconds) + steps * per_step + self.eval_seconds + self.run_seconds


def pass_seconds(
    model: AnyArchitecture,
    num_images: int,
    precision: Precision,
    batch_size: int = 256,
    calibration: Calibration = SHIPPED,
) -> float:
    """Return the seconds on one core of one pass of ``num_images``, forward or inverse, without gradients."""
    return _seconds(model_cost(model), num_images, precision, batch_size, calibration)


def _seconds(
    cost: ModelCost, num_images: int, precision: Precision, batch_size: int, calibration: Calibration
) -> float:
    batches = -(-num_images // batch_size)
    gflops = calibration.gflops_bf16 if precision == "bf16" else calibration.gflops_fp32
    per_image = 2e-9 * cost.macs / gflops + 1e-9 * cost.activations * calibration.ns_per_activation
    return num_images * per_image + batches * cost.num_layers * calibration.s_per_coupling


def cell_cost(
    cell: Cell, study: Study, calibration: Calibration = SHIPPED, timing: CellTiming | None = None
) -> CellCost:
    """Estimate the cost of a cell of a study, or of its truth; of a model of the user's own, by its timing."""
    run = _Run(cell, study, calibration, timing)
    prepare_seconds = run.pretrain_seconds() + run.prediction_seconds()
    memory_gb = SHIPPED.base_gb + memory_bytes(cell) / 1e9
    return CellCost(run.step_seconds(), prepare_seconds, run.eval_seconds(), memory_gb, calibration.run_s)


def dataset_seconds(study: Study, calibration: Calibration = SHIPPED) -> float:
    """Return the seconds on one core of the synthetic set and its entropy: one inverse and one forward pass, fp32."""
    if study.truth is None or not study.needs_dataset:
        return 0.0
    data = study.dataset
    num_images = data.num_train + data.num_val + data.num_test + data.num_entropy
    return 2 * pass_seconds(study.truth.real_nvp, num_images, "fp32", calibration=calibration) + calibration.run_s


def has_penalty(cell: Cell) -> bool:
    """Return whether the discriminator's loss has a penalty with second derivatives."""
    paradigm = cell.paradigm
    is_penalised = isinstance(paradigm, NonSaturatingConfig) and max(paradigm.r1_gamma, paradigm.r2_gamma) > 0
    return is_penalised or isinstance(paradigm, WGANGPConfig)


class _Run:
    """The seconds on one core of the parts of a cell's run."""

    def __init__(self, cell: Cell, study: Study, calibration: Calibration, timing: CellTiming | None = None):
        truth = study.truth.real_nvp if study.truth is not None and cell.data.is_synthetic else None
        self.cell, self.metrics, self.truth, self.calibration = cell, study.metrics, truth, calibration
        self.domain = domain_of(cell.data, study.truth)
        self.timing = timing
        self.model, self.paradigm, self.batch = cell.architecture, cell.paradigm, cell.paradigm.batch_size

    def _pass(self, model: AnyArchitecture, num_images: int, precision: Precision, batch_size: int = 256) -> float:
        if self.timing and model is self.model:
            return num_images * max(self.timing.density_s, self.timing.sample_s)
        return pass_seconds(model, num_images, precision, batch_size, self.calibration)

    def _time(self, cost: ModelCost, num_images: int, precision: Precision, batch_size: int) -> float:
        return _seconds(cost, num_images, precision, batch_size, self.calibration)

    def step_seconds(self) -> float:
        """Return the seconds of a step of training."""
        paradigm, grad = self.paradigm, self.calibration.backward
        if self.timing:
            return self.timing.step_s + self._fresh_seconds()
        if isinstance(paradigm, NoiseConfig):
            return self.calibration.s_per_parameter * model_cost(self.model).num_parameters
        once = self._pass(self.model, self.batch, self.cell.precision, self.batch)
        seconds = (1 + grad) * once
        if isinstance(paradigm, AdversarialConfig):
            # the last fakes of the discriminator's steps are those that the generator's gradient goes through
            seconds += paradigm.disc_steps * self._disc_seconds(paradigm) - once
            seconds += (1 + grad / 2) * self._disc_pass(paradigm)
            return seconds + (1 + grad) * once if isinstance(paradigm, HybridConfig) else seconds
        if isinstance(paradigm, OracleConfig):
            # both densities at the samples, with a gradient to those alone
            exact = [self._pass(model, self.batch, "fp32", self.batch) for model in (self.model, self.truth) if model]
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
        return self.calibration.prediction * (
            self._pass(self.cell.flow, num, "fp32") + self._time(_disc_cost(self.cell, paradigm), num, "fp32", 256)
        )

    def eval_seconds(self) -> float:
        """Return the seconds of all evaluations on validation, and of each kept model's final one on the test split."""
        metrics, data = self.metrics, self.cell.data
        regular = 1 + -(-self.paradigm.steps // self.paradigm.eval_every)  # start and end are always evaluated
        weights = 2 if self.paradigm.ema_decay else 1
        kept = weights + self._has_best()
        num = metrics.samples_by_split
        every = self.cell.groups_every(metrics)
        val = self._measure_seconds(every, num["val"], data.num_val)
        test = self._measure_seconds(metrics.final, num["test"], data.num_test)
        once = self._once_seconds(every, num["val"], data.num_val)
        once += self._once_seconds(metrics.final, num["test"], data.num_test)
        return regular * weights * val + kept * test + once

    def _has_best(self) -> bool:
        """Return whether validation chooses best weights: by likelihood, or by a Fréchet distance."""
        is_by_distance = isinstance(self.paradigm, GeneratorConfig) and self.paradigm.best_by == "frechet"
        return self.cell.dcgan is None or (is_by_distance and has_lenet(self.domain))

    def _disc_seconds(self, paradigm: AdversarialConfig) -> float:
        """Return the seconds of a discriminator's step: generate, real and fake with gradient, graph of a penalty."""
        seconds = self._pass(self.model, self.batch, self.cell.precision, self.batch) + self._fresh_seconds()
        seconds += 2 * (1 + self.calibration.backward) * self._disc_pass(paradigm)
        if has_penalty(self.cell):
            cost = _disc_cost(self.cell, paradigm)
            seconds += self.calibration.penalty * self._time(cost, self.batch, "fp32", self.batch)
        return seconds

    def _disc_pass(self, paradigm: AdversarialConfig) -> float:
        return self._time(_disc_cost(self.cell, paradigm), self.batch, self.cell.precision, self.batch)

    def _fresh_seconds(self) -> float:
        """Return the seconds of a batch of new images from the truth."""
        if self.truth is None or self.cell.data.num_train != "fresh":
            return 0.0
        return self._pass(self.truth, self.batch, "fp32", self.batch)

    def _measure_seconds(self, groups: Collection[str], num_samples: int, num_held_out: int) -> float:
        """Return the seconds of measuring one model once: densities of images, samples, both densities of samples."""
        cell, metrics, model = self.cell, self.metrics, self.model
        has_density = cell.dcgan is None
        truth = self.truth if has_density and OF_DENSITIES & set(groups) else None
        seconds = 0.0
        if has_density:
            seconds += self._pass(model, metrics.num_train_eval + num_held_out, "fp32")
        if truth is not None or "critic" in groups or (metrics.frechet and OF_IMAGES & set(groups)):
            seconds += self._pass(model, num_samples, "fp32")
        if truth is not None:
            seconds += self._pass(model, num_samples, "fp32") + self._pass(truth, num_samples, "fp32")
        if "resampling" in groups and metrics.frechet and cell.flow is not None and cell.flow.scales > 1:
            seconds += 4 * self._pass(model, num_samples, "fp32")  # two halves, there and back
        num_train, num_pixels = _num_kept(cell), model.num_dims
        images = image_metric_seconds(groups, metrics.frechet, num_samples, num_train, num_held_out, num_pixels)
        return seconds + self.calibration.metric_ratio * (critic_seconds(groups, model.num_dims) + images)

    def _once_seconds(self, groups: Collection[str], num_samples: int, num_held_out: int) -> float:
        """Return the seconds of what the first model that is measured on a split needs, and others share."""
        num_train, num_pixels = _num_kept(self.cell), self.model.num_dims
        seconds = critic_seconds(groups, num_pixels)
        seconds += once_seconds(groups, self.metrics.frechet, num_samples, num_train, num_held_out, num_pixels)
        return self.calibration.metric_ratio * seconds


def _disc_cost(cell: Cell, paradigm: AdversarialConfig) -> ModelCost:
    return discriminator_cost(paradigm.disc_width, cell.architecture.shape)


def memory_bytes(cell: Cell) -> float:
    """Return the bytes of a run at its peak beside torch itself: within a fifth (benchmarks/results/memory.md)."""
    paradigm, cost = cell.paradigm, model_cost(cell.architecture)
    # weights, gradient, Adam's two moments, EMA and best: six numbers a parameter
    parameters = 6 * 4 * cost.num_parameters
    graphs = 2 if isinstance(paradigm, HybridConfig | OracleConfig) else 1  # there and back
    kept = SHIPPED.bytes_bf16 if cell.precision == "bf16" else SHIPPED.bytes_fp32
    activations = graphs * kept * cost.activations * paradigm.batch_size
    if isinstance(paradigm, AdversarialConfig):
        disc = _disc_cost(cell, paradigm)
        parameters += 4 * 4 * disc.num_parameters
        activations += SHIPPED.bytes_disc * disc.activations * paradigm.batch_size
    scored = SHIPPED.bytes_scored * cost.activations * SHIPPED.num_scored
    return parameters + max(activations, scored) + _image_bytes(cell)


def _image_bytes(cell: Cell) -> int:
    """Return the bytes of all images: real ones are kept as bytes, a synthetic set and all held-out ones as float32."""
    each = 4 if cell.data.is_synthetic else 1
    return cell.architecture.num_dims * (each * _num_kept(cell) + 4 * (cell.data.num_val + cell.data.num_test))


def _num_kept(cell: Cell) -> int:
    """Return the number of training images in memory; 0 where each is fresh."""
    return cell.data.num_training or 0
