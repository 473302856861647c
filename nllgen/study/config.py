"""The frozen models of a study. Defaults live here and nowhere else; every model validates itself.

What belongs to the science of a cell is in :class:`Cell` and so in its id. Resources, paths, profiles and the choice of
metrics are not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from typing_extensions import override

from nllgen.study.models import (
    MNIST_SIZE,
    AnyArchitecture,
    Count,
    DCGANConfig,
    FlowConfig,
    Frozen,
    ImportedConfig,
    Module,
    Name,
)
from nllgen.study.paradigms import (
    AdversarialConfig,
    AnyParadigm,
    HybridConfig,
    NLLConfig,
    NSGANConfig,
    OracleConfig,
    ParadigmConfig,
    WGANGPConfig,
)
from nllgen.study.sections import DatasetConfig, MetricGroup, MetricsConfig, Resources

__all__ = [
    "MNIST_HELD_OUT",
    "MNIST_SIZE",
    "MNIST_TRAIN",
    "SCHEMA",
    "AdversarialConfig",
    "AnyArchitecture",
    "AnyParadigm",
    "Cell",
    "DCGANConfig",
    "DataConfig",
    "DatasetConfig",
    "Degree",
    "FlowConfig",
    "Frozen",
    "HybridConfig",
    "ImportedConfig",
    "MetricGroup",
    "MetricsConfig",
    "NLLConfig",
    "NSGANConfig",
    "OracleConfig",
    "ParadigmConfig",
    "Precision",
    "Resources",
    "Study",
    "WGANGPConfig",
    "digest",
]

SCHEMA = 2
MNIST_TRAIN = 50_000
MNIST_HELD_OUT = 10_000

Degree = Literal["U3", "U2", "U1", "W", "W*", "O1", "O2"]
Precision = Literal["fp32", "bf16"]


class DataConfig(Frozen):
    """What a cell is trained and measured on.

    Attributes:
        source: ``mnist``, or ``synthetic`` images drawn from the study's truth.
        image_size: MNIST is averaged down to this height and width: 28, 14 or 7. Synthetic images have the truth's.
        alpha: squeezing towards 0.5 before the logit, w = α + (1 − 2α)v.
        num_train: training images; ``all`` of MNIST's 50,000, or ``fresh`` synthetic images at every step.
        num_val, num_test: held-out images that densities are measured on.
        truth_id: id of the truth that synthetic images are drawn from; the grid fills it in.
    """

    source: Literal["mnist", "synthetic"] = "mnist"
    image_size: Literal[28, 14, 7] = MNIST_SIZE
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 1e-6
    num_train: Count | Literal["all", "fresh"] = "all"
    num_val: Annotated[int, Field(ge=2, le=10**6)] = MNIST_HELD_OUT
    num_test: Annotated[int, Field(ge=2, le=10**6)] = MNIST_HELD_OUT
    truth_id: str | None = None

    @model_validator(mode="after")
    def _source_allows(self) -> Self:
        if self.source == "mnist":
            if self.num_train == "fresh":
                raise ValueError("num_train: fresh needs source: synthetic; MNIST has 50,000 training images")
            if self.num_train != "all" and self.num_train > MNIST_TRAIN:
                raise ValueError(f"num_train is {self.num_train}, MNIST has {MNIST_TRAIN} training images")
            if max(self.num_val, self.num_test) > MNIST_HELD_OUT:
                raise ValueError(f"num_val and num_test are at most {MNIST_HELD_OUT} on MNIST")
            if self.truth_id is not None:
                raise ValueError("truth_id goes with source: synthetic")
        elif self.num_train == "all":
            raise ValueError("num_train of synthetic data is a number or fresh, not all")
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return (1, self.image_size, self.image_size)


# paradigms that train through samples alone
_BY_SAMPLES = [NSGANConfig.model_fields["name"].default, WGANGPConfig.model_fields["name"].default]


class Cell(Frozen):
    """One training run, of one of three kinds of model.

    Attributes:
        flow, dcgan, model: what is trained; one of them is given.
        start: ``random``, or ``truth``: the truth's own weights.
        precision: arithmetic of training, resolved at submission; reported densities are always fp32.
        seed: of every random stream; on synthetic data also the disjoint block of training images.
        degree: the flow's name relative to the truth. A label: the flow itself is what counts, so it is not in the id.
    """

    data: DataConfig
    flow: FlowConfig | None = None
    dcgan: DCGANConfig | None = None
    model: ImportedConfig | None = None
    paradigm: AnyParadigm = NLLConfig()
    start: Literal["random", "truth"] = "random"
    precision: Precision = "fp32"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    degree: Degree | Literal["custom"] = "custom"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (given := sum(part is not None for part in (self.flow, self.dcgan, self.model))) != 1:
            raise ValueError(f"one of flow, dcgan and model is needed, {given or 'none'} of them are given")
        shape, name = self.architecture.shape, self.paradigm.name
        if shape != self.data.shape:
            raise ValueError(f"the flow is for images of shape {shape}, the data are {self.data.shape}")
        if self.dcgan and self.paradigm.needs_log_prob:
            raise ValueError(f"dcgan has no density, and paradigm {name} needs one; allowed: {', '.join(_BY_SAMPLES)}")
        if self.start == "truth" and self.flow is None:
            raise ValueError("start: truth takes the truth's weights, which only a flow has a place for")
        if self.paradigm.needs_truth and self.data.source != "synthetic":
            raise ValueError(f"paradigm {name} needs the data's density: source: synthetic, not {self.data.source}")
        return self

    @property
    def architecture(self) -> AnyArchitecture:
        """Of the model that is trained."""
        found = self.flow or self.dcgan or self.model
        assert found is not None
        return found

    @property
    def has_prediction(self) -> bool:
        """Whether the linearised game speaks of it: NSGAN from the truth on its data, by simultaneous plain steps.

        Adam's steps are no gradient steps, alternating ones have another Jacobian, and the game with instance noise
        that decays is another one at every step.
        """
        config = self.paradigm
        return (
            isinstance(config, NSGANConfig)
            and self.start == "truth"
            and self.data.source == "synthetic"
            and (config.optimizer, config.updates, config.instance_noise) == ("sgd", "simultaneous", 0.0)
            and config.steps > 0
        )

    @property
    def real_nvp(self) -> FlowConfig:
        """The flow of a cell that is known to train one, as a truth does."""
        assert self.flow is not None
        return self.flow

    @cached_property
    def id(self) -> str:
        """16 hexadecimal digits of the SHA-256 of schema version and canonical JSON, without the label."""
        return digest({"schema": SCHEMA, "cell": self.model_dump(mode="json", exclude={"degree"})})

    @override
    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As pydantic's, but the id is worked out anew."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("id", None)
        return copied

    @property
    def kind(self) -> str:
        """What is trained, in a word: the degree of a flow, ``dcgan``, or the name of a factory."""
        if self.model is not None:
            return self.model.factory.partition(":")[2]
        return "dcgan" if self.dcgan is not None else self.degree

    @property
    def label(self) -> str:
        """Short text for tables and logs: kind, paradigm, N, start, seed."""
        size = f"{self.data.source}:{self.data.num_train}"
        return f"{self.kind} {self.paradigm.name} {size} {self.start} seed {self.seed}"


def digest(value: object) -> str:
    """16 hexadecimal digits of the SHA-256 of ``value`` as canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


Sources = Annotated[tuple[Literal["mnist"], ...], Field(strict=False)]


class Study(Frozen):
    """A resolved study: everything that is to be run.

    Attributes:
        truth: the training run whose best weights become the truth; None in a study of real data alone.
        pretrained: name of the shipped truth that takes the place of that run; empty where the truth is trained.
        cells: in the order of the file, no two with the same id.
        plugins: modules that ``model.factory`` may be imported from, beside nllgen's own.
        optional: sources of data whose cells are left out where the data cannot be had.
        left_out: those of them that were not there when it was submitted.
        claims_sha256: of the rules by which its claims will be judged, as registered when it was first submitted; empty
            where none were.
    """

    name: Name
    truth: Cell | None = None
    pretrained: Name | Literal[""] = ""
    dataset: DatasetConfig = DatasetConfig()
    cells: tuple[Cell, ...]
    plugins: Annotated[tuple[Module, ...], Field(strict=False)] = ()
    optional: Sources = ()
    left_out: Sources = ()
    metrics: MetricsConfig = MetricsConfig()
    resources: Resources = Resources()
    claims_sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""

    @model_validator(mode="after")
    def _declared(self) -> Self:
        for cell in self.cells:
            if cell.model is not None and not cell.model.is_under(self.plugins):
                raise ValueError(f"cell {cell.id}: model.factory {cell.model.factory} is under none of plugins")
        return self

    @property
    def trains_truth(self) -> bool:
        """Whether its truth is one of its runs."""
        return self.truth is not None and not self.pretrained

    @property
    def needs_dataset(self) -> bool:
        """Whether any cell reads synthetic images."""
        return any(cell.data.source == "synthetic" for cell in self.cells)

    def without_missing(self, missing: Collection[str]) -> Study:
        """Return the study without the cells on optional data that are missing; what was left out is noted in it."""
        left_out = tuple(source for source in self.optional if source in missing)
        cells = tuple(cell for cell in self.cells if cell.data.source not in left_out)
        return self.model_copy(update={"cells": cells, "left_out": left_out})
