"""Frozen configuration of a study and its cells, with all defaults. Every model validates itself.

All that changes a cell's science is in :class:`nllgen.study.cell.Cell`, and so in its id. Resources, paths, profiles
and the choice of metrics are not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from nllgen.study.cell import HELD_OUT, SCHEMA, Cell, DataConfig, Degree, Precision
from nllgen.study.image_sets import PublishedName
from nllgen.study.metric_groups import MetricGroup
from nllgen.study.models import (
    AnyArchitecture,
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
    GeneratorConfig,
    HybridConfig,
    NLLConfig,
    NoiseConfig,
    NonSaturatingConfig,
    NSGANConfig,
    OracleConfig,
    ParadigmConfig,
    R3GANConfig,
    WGANGPConfig,
)
from nllgen.study.sections import DatasetConfig, MetricsConfig, Resources
from nllgen.study.tuning import Tuning

__all__ = [
    "HELD_OUT",
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
    "GeneratorConfig",
    "HybridConfig",
    "ImportedConfig",
    "MetricGroup",
    "MetricsConfig",
    "NLLConfig",
    "NSGANConfig",
    "NoiseConfig",
    "NonSaturatingConfig",
    "OracleConfig",
    "ParadigmConfig",
    "Precision",
    "R3GANConfig",
    "Resources",
    "Study",
    "WGANGPConfig",
]

Sources = Annotated[tuple[PublishedName, ...], Field(strict=False)]
Purpose = Literal["claims", "tuning"]


class Study(Frozen):
    """A resolved study.

    Attributes:
        purpose: ``claims`` to be judged, or ``tuning``: all cells are trials that choose settings for another study.
        tuning: the trials that cells with ``paradigm.tuned`` took their settings from; None where there are none.
        truth: the training run whose best weights become the truth; None in a study of real data alone.
        pretrained: name of the shipped truth that replaces this run; empty where the truth is trained.
        cells: training runs in the order of the file, with unique ids.
        plugins: modules that ``model.factory`` may be imported from, beside nllgen's own.
        optional: published sets of images whose cells are left out where the data are missing.
        left_out: optional sources that were missing at submission.
        overrides: values that ``--set`` replaced, ``KEY=VALUE`` each.
        claims_sha256: SHA-256 of the claims' rules, registered at the first submission; empty where none were.
        image_files: SHA-256 → path of one's own images, which are copied into the study's directory; not frozen.
    """

    name: Name
    purpose: Purpose = "claims"
    tuning: Tuning | None = None
    truth: Cell | None = None
    pretrained: Name | Literal[""] = ""
    dataset: DatasetConfig = DatasetConfig()
    cells: tuple[Cell, ...]
    plugins: Annotated[tuple[Module, ...], Field(strict=False)] = ()
    optional: Sources = ()
    left_out: Sources = ()
    overrides: Annotated[tuple[str, ...], Field(strict=False)] = ()
    metrics: MetricsConfig = MetricsConfig()
    resources: Resources = Resources()
    claims_sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    image_files: dict[str, str] = Field(default_factory=dict, exclude=True)

    @model_validator(mode="after")
    def _check_factories(self) -> Self:
        for cell in self.cells:
            if cell.model is not None and not cell.model.is_under(self.plugins):
                raise ValueError(f"cell {cell.id}: model.factory {cell.model.factory} is under none of plugins")
        return self

    @property
    def trains_truth(self) -> bool:
        """Return whether the truth is trained by this study."""
        return self.truth is not None and not self.pretrained

    @property
    def needs_dataset(self) -> bool:
        """Return whether any cell reads synthetic images."""
        return any(cell.data.is_synthetic for cell in self.cells)

    @property
    def real_data(self) -> Iterator[DataConfig]:
        """Yield the real data of the truth and of the cells, once each."""
        cells = self.cells if self.truth is None else (self.truth, *self.cells)
        yield from {cell.data: None for cell in cells if not cell.data.is_synthetic}

    def without_missing(self, missing: Collection[str]) -> Study:
        """Return the study without the cells on missing optional data; ``left_out`` names these data."""
        left_out = tuple(source for source in self.optional if source in missing)
        cells = tuple(cell for cell in self.cells if cell.data.source not in left_out)
        return self.model_copy(update={"cells": cells, "left_out": left_out})
