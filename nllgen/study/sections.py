"""Sections of a study that are not part of a cell's id: dataset, metrics and resources."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from nllgen.study.metric_groups import DEFAULT_FINAL, ExtractorName, MetricGroup, group_name
from nllgen.study.models import Count, Frozen
from nllgen.study.quantities import Gibibytes, Minutes


class DatasetConfig(Frozen):
    """The synthetic set, drawn once from the truth. Seed k trains on its k-th disjoint block.

    ``num_train`` is the size of a pool. A larger pool begins with the smaller one, so that it is not part of any id.
    """

    num_train: Count = 50_000
    num_val: Annotated[int, Field(ge=2, le=10**6)] = 10_000
    num_test: Annotated[int, Field(ge=2, le=10**6)] = 10_000
    num_entropy: Annotated[int, Field(ge=2, le=10**7)] = 50_000

    @property
    def num_images(self) -> int:
        """Return the number of images of all splits."""
        return self.num_train + self.num_val + self.num_test


def _known_group(value: Any) -> Any:
    return group_name(value) if isinstance(value, str) else value


def _once(groups: tuple[MetricGroup, ...]) -> tuple[MetricGroup, ...]:
    return tuple(dict.fromkeys(groups))


_Groups = Annotated[
    tuple[Annotated[MetricGroup, BeforeValidator(_known_group)], ...], Field(strict=False), AfterValidator(_once)
]


class MetricsConfig(Frozen):
    """The choice of metrics. It is not part of a cell's id, since it does not change the training.

    Likelihood is always measured, and of a game the distance that chooses its best weights.

    Attributes:
        every: groups of metrics at every evaluation, on validation; ``fid`` is another name of ``frechet``.
        final: groups at the end, on the test split, for the last, the best and the averaged weights.
        frechet: feature extractors of Fréchet distances and the other metrics of images. ``lenet`` reads MNIST and
            Fashion-MNIST of 28×28 and 14×14, each with its own network; on other images it measures nothing.
        num_samples: model samples for every metric that needs samples.
        num_samples_every: model samples at the evaluations before the end; null takes ``num_samples``. The bias of a
            Fréchet distance depends on this number, and it is compared with floors of the same number.
        num_train_eval: training images for ``train_nll_nats`` at an evaluation.
        num_kept: samples kept in the result for pictures.
        num_equilibrium: latents for the predicted critical step of a cell that starts at the equilibrium and takes
            simultaneous SGD steps; choose it well above the features of the discriminator's last layer. 0 is no
            prediction.
    """

    every: _Groups = ("divergence", "pareto", "frechet")
    final: _Groups = DEFAULT_FINAL
    frechet: Annotated[tuple[ExtractorName, ...], Field(strict=False)] = ("lenet",)
    num_samples: Annotated[int, Field(ge=2, le=10**6)] = 2_000
    num_samples_every: Annotated[int | None, Field(ge=2, le=10**6)] = None
    num_train_eval: Annotated[int, Field(ge=2, le=10**6)] = 2_000
    num_kept: Annotated[int, Field(ge=0, le=4096)] = 64
    num_equilibrium: Annotated[int, Field(ge=0, le=10**6)] = 2_000

    @property
    def samples_by_split(self) -> dict[str, int]:
        """Return the number of model samples of each split: validation at every evaluation, test at the end."""
        return {"val": self.num_samples_every or self.num_samples, "test": self.num_samples}


class Resources(Frozen):
    """The resources of a job, and what is written while it runs.

    Attributes:
        log: ``[tensorboard]`` writes event files, which TensorBoard reads while the cells train; they change no result.
    """

    time_min: Minutes = 240
    memory_gb: Gibibytes = 4.0
    cpus: Annotated[int, Field(ge=1, le=1024)] = 1
    gpus: Annotated[int, Field(ge=0, le=64)] = 0
    log: Annotated[tuple[Literal["tensorboard"], ...], Field(strict=False)] = ()

    @property
    def writes_events(self) -> bool:
        """Return whether cells write event files for TensorBoard."""
        return "tensorboard" in self.log
