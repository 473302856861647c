"""Sections of a study that are not in the id of a cell: the synthetic set, what is measured, what a job asks for."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from nllgen.study.models import Count, Frozen

MetricGroup = Literal[
    "divergence", "pareto", "frechet", "frechet_inf", "kid", "prdc", "memorisation", "critic", "resampling", "numerics"
]  # and likelihood, which is always measured


class DatasetConfig(Frozen):
    """The synthetic set drawn once from the truth: seed k trains on the k-th disjoint block of it.

    ``num_train`` is a pool. A larger pool begins with the smaller one, so that it is not part of any id.
    """

    num_train: Count = 50_000
    num_val: Annotated[int, Field(ge=2, le=10**6)] = 10_000
    num_test: Annotated[int, Field(ge=2, le=10**6)] = 10_000
    num_entropy: Annotated[int, Field(ge=2, le=10**7)] = 50_000


class MetricsConfig(Frozen):
    """What is measured, and when. Not part of a cell's id: a metric more or less leaves the training as it is.

    Likelihoods are measured whatever is asked for: they choose the best weights.

    Attributes:
        every: groups of metrics at every evaluation, on validation.
        final: groups at the end, on the test split, for the last, the best and the averaged weights.
        frechet: feature extractors that Fréchet distances and the other metrics of images are computed with.
        num_samples: model samples behind every metric that needs samples.
        num_samples_every: as many at the evaluations before the end; null takes ``num_samples``. Fréchet distances are
            biased in their number, and compared with floors of as many.
        num_train_eval: training images behind ``train_nll_nats`` at an evaluation.
        num_kept: samples kept in the result for pictures.
        num_equilibrium: latents behind the predicted critical step of a cell that starts at the equilibrium and takes
            simultaneous plain gradient steps; well above the features of its discriminator's last layer. 0 predicts
            nothing.
    """

    every: Annotated[tuple[MetricGroup, ...], Field(strict=False)] = ("divergence", "pareto", "frechet")
    final: Annotated[tuple[MetricGroup, ...], Field(strict=False)] = get_args(MetricGroup)
    frechet: Annotated[tuple[Literal["lenet", "inception"], ...], Field(strict=False)] = ("lenet",)
    num_samples: Annotated[int, Field(ge=2, le=10**6)] = 2_000
    num_samples_every: Annotated[int | None, Field(ge=2, le=10**6)] = None
    num_train_eval: Annotated[int, Field(ge=2, le=10**6)] = 2_000
    num_kept: Annotated[int, Field(ge=0, le=4096)] = 64
    num_equilibrium: Annotated[int, Field(ge=0, le=10**6)] = 2_000

    @property
    def samples_by_split(self) -> dict[str, int]:
        """Model samples on validation, at every evaluation, and on the test split, at the end."""
        return {"val": self.num_samples_every or self.num_samples, "test": self.num_samples}


class Resources(Frozen):
    """What a job asks for; apart from science."""

    time_min: Annotated[int, Field(ge=1, le=60 * 24 * 365)] = 240
    memory_gb: Annotated[float, Field(gt=0, le=16_384)] = 4.0
    cpus: Annotated[int, Field(ge=1, le=1024)] = 1
    gpus: Annotated[int, Field(ge=0, le=64)] = 0
