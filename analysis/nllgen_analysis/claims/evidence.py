"""Evidence of a study for its claims: runs, arms of several seeds, settings of comparable arms, numbers per seed.

All of it is derived from the configurations of the cells; names and labels are for display only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Generic, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import ValidationError

from nllgen.study.config import Cell, Degree, FlowConfig
from nllgen.study.degrees import DEGREES, student
from nllgen.study.image_sets import source_title
from nllgen_analysis.claims.base_rules import AnyRules
from nllgen_analysis.claims.verdict import NAN, Finding, Sample, Sense, compare
from nllgen_analysis.frames import Frames

FloatArray = npt.NDArray[np.float64]
NO_VALUE = "no finite value"  # of a seed
Rows = dict[tuple[int, str], pd.DataFrame]
Size = Literal["finite", "fresh"]  # of a training set


@dataclass(frozen=True)
class Run:
    """A cell of the study."""

    row: int  # in the frame of cells
    id: str
    cell: Cell
    outcome: str  # done, diverged or missing
    degree: Degree | None  # of its flow relative to the study's truth, by architecture; None for any other model


@dataclass(frozen=True)
class Arm:
    """Runs whose configurations differ in the seed alone."""

    label: str
    runs: tuple[Run, ...]

    @property
    def cell(self) -> Cell:
        """Return the configuration with the first seed."""
        return self.runs[0].cell

    @property
    def degree(self) -> Degree | None:
        """Return the degree of the flow, None for any other model."""
        return self.runs[0].degree

    @cached_property
    def by_seed(self) -> dict[int, Run]:
        """Return the run of each seed."""
        return {run.cell.seed: run for run in self.runs}

    @property
    def ids(self) -> tuple[str, ...]:
        """Return the ids of the cells."""
        return tuple(run.id for run in self.runs)


@dataclass(frozen=True)
class Setting:
    """Arms of several degrees that share everything but the flow."""

    label: str
    arms: dict[Degree, Arm]


class Evidence(Generic[AnyRules]):
    """A study with the queries that claims need."""

    def __init__(self, frames: Frames, rules: AnyRules):
        self.frames = frames
        self.rules = rules
        self.min_seeds = rules.general.min_seeds
        self._eval = _by_cell(frames.eval)
        self._final = _by_cell(frames.final)

    def compare(
        self, label: str, sample: Sample, num_parts: int = 1, *, threshold: float = 0.0, sense: Sense = "above",
        unit: str = "nats", min_seeds: int | None = None,
    ) -> Finding:  # fmt: skip
        """Compare a sample with a threshold at the registered confidence, shared with ``num_parts`` − 1 others."""
        # each of several intervals that share one error (Bonferroni)
        confidence = 1 - (1 - self.rules.general.confidence) / max(1, num_parts)
        min_seeds, min_finished = min_seeds or self.min_seeds, self.rules.general.min_finished
        finding = compare(label, sample, confidence, min_seeds, threshold, sense, unit, min_finished)
        return replace(finding, p_value=min(1.0, finding.p_value * max(1, num_parts)))

    @cached_property
    def runs(self) -> list[Run]:
        """Return every cell but the truth's own training."""
        degrees = _degrees(self._truth_flow)
        cells = self.frames.cells
        return [
            Run(row, id, cell, outcome, degrees.get(cell.flow) if cell.flow is not None else None)
            for row, (id, role, outcome, cell) in enumerate(
                zip(cells["id"], cells["role"], cells["outcome"], self.frames.configs, strict=True)
            )
            if role != "truth"
        ]

    @cached_property
    def arms(self) -> list[Arm]:
        """Return the arms in the order of the study."""
        by_config: dict[str, list[Run]] = {}
        for run in self.runs:
            by_config.setdefault(run.cell.model_dump_json(exclude={"seed", "degree"}), []).append(run)
        groups = self.frames.cells["group"]
        return [Arm(str(groups[runs[0].row]), tuple(runs)) for runs in by_config.values()]

    @property
    def _truth_flow(self) -> FlowConfig | None:
        truths = [cell for cell, role in zip(self.frames.configs, self.frames.cells["role"], strict=True)
                  if role == "truth"]  # fmt: skip
        if truths:
            return truths[0].flow
        return self.frames.pretrained_truth.flow if self.frames.pretrained_truth else None

    def is_plain_nsgan(self, cell: Cell) -> bool:
        """Return whether the cell is trained by the registered definition of NSGAN, whatever the model is."""
        settings = self.rules.plain_nsgan.items()
        return cell.paradigm.name == "nsgan" and all(getattr(cell.paradigm, key) == value for key, value in settings)

    def degree_settings(
        self, required: Sequence[Degree], extra: Sequence[Degree], min_extra: int = 0,
        sizes: Sequence[Size] = ("finite",),
    ) -> tuple[list[Setting], list[str]]:  # fmt: skip
        """Return settings in which degrees were trained by NLL on a synthetic set from a random start.

        A setting has the ``required`` degrees with enough planned seeds in common, and at least ``min_extra`` of the
        ``extra`` ones. The texts give the reason for each setting and degree that is left out.
        """
        by_data: dict[str, dict[Degree, Arm]] = {}
        for arm in self.arms:
            if arm.degree in (*required, *extra) and _is_nll(arm.cell, sizes):
                key = arm.cell.model_dump_json(exclude={"flow", "seed", "degree"})
                by_data.setdefault(key, {})[arm.degree] = arm
        labels = _setting_labels([next(iter(arms.values())).cell for arms in by_data.values()])
        settings, skipped = [], []
        for label, arms in zip(labels, by_data.values(), strict=True):
            kept, lacking = self._with_enough_seeds(arms, required, extra)
            if lacking or sum(degree in kept for degree in extra) < min_extra:
                needs = f"{', '.join(lacking) or ' or '.join(extra)} with {self.min_seeds} planned seeds in common"
                skipped.append(f"{label} lacks {needs}")
                continue
            settings.append(Setting(label, kept))
            dropped = [degree for degree in arms if degree not in kept]
            if dropped:
                skipped.append(f"{', '.join(dropped)} in {label}, planned with fewer than {self.min_seeds} seeds")
        return settings, skipped

    def _with_enough_seeds(
        self, arms: dict[Degree, Arm], required: Sequence[Degree], extra: Sequence[Degree]
    ) -> tuple[dict[Degree, Arm], list[Degree]]:
        """Return the arms that share enough seeds, and the required degrees that do not."""
        seeds = {degree: set(arms[degree].by_seed) if degree in arms else set() for degree in (*required, *extra)}
        common = set.intersection(*(seeds[degree] for degree in required))
        lacking = [degree for degree in required if len(seeds[degree]) < self.min_seeds]
        if len(common) < self.min_seeds:
            return {}, lacking or list(required)
        kept = [degree for degree in (*required, *extra) if len(seeds[degree] & common) >= self.min_seeds]
        return {degree: arms[degree] for degree in kept}, []

    # values of a run, NaN if it has none

    def last(self, run: Run, column: str, weights: str = "raw") -> float:
        """Return a value of the last evaluation of a finished run."""
        values = self._values(self._eval, run, weights, column)
        return float(values[-1]) if run.outcome == "done" and len(values) else NAN

    def last_finite(self, run: Run, column: str) -> float:
        """Return the last finite value after the start, also of a run that diverged."""
        curve = self.curve(run, column)
        return float(curve.iloc[-1]) if len(curve) and curve.index[-1] > 0 else NAN

    def final(self, run: Run, column: str, weights: str = "last") -> float:
        """Return a final metric of a finished run, on the test split."""
        values = self._values(self._final, run, weights, column)
        return float(values[-1]) if run.outcome == "done" and len(values) else NAN

    def curve(self, run: Run, column: str) -> pd.Series:
        """Return the finite values of the raw weights by step."""
        values = self._values(self._eval, run, "raw", column)
        steps = self._values(self._eval, run, "raw", "step")
        finite = np.isfinite(values)
        return pd.Series(values[finite], index=steps[finite])

    def number(self, run: Run, column: str) -> float:
        """Return a number of the frame of cells, such as ``seconds_per_step``."""
        return float(self.frames.cells[column].iloc[run.row])

    def text(self, run: Run, column: str) -> str:
        """Return a text of the frame of cells, such as ``device``."""
        return str(self.frames.cells[column].iloc[run.row])

    @staticmethod
    def _values(table: Rows, run: Run, weights: str, column: str) -> FloatArray:
        rows = table.get((run.row, weights))
        return np.empty(0) if rows is None else rows[column].to_numpy(float)


def _by_cell(table: pd.DataFrame) -> Rows:
    """Return the rows of each cell and kind of weights by step; of rows with the same step keep the last."""
    ordered = table.sort_values("step", kind="stable").drop_duplicates(["cell", "weights", "step"], keep="last")
    return {(int(cell), str(weights)): part for (cell, weights), part in ordered.groupby(["cell", "weights"])}


def _degrees(truth: FlowConfig | None) -> dict[FlowConfig, Degree]:
    """Return the degree of each flow; W* has the flow of W."""
    degrees: dict[FlowConfig, Degree] = {}
    if truth is None:
        return degrees
    for degree in ("W", *DEGREES):
        try:
            degrees.setdefault(student(truth, degree), degree)
        except ValidationError:  # this truth has no such student
            continue
    return degrees


def _is_nll(cell: Cell, sizes: Sequence[Size]) -> bool:
    is_trained = cell.paradigm.name == "nll" and cell.paradigm.steps > 0
    size = "finite" if isinstance(cell.data.num_train, int) else "fresh"
    return is_trained and cell.data.is_synthetic and size in sizes and cell.start == "random"


def _setting_labels(cells: Sequence[Cell]) -> list[str]:
    """Return labels such as ``N = 1,000``; add the settings that vary between cells with equal labels."""
    names = [data_label(cell) for cell in cells]
    values = [cell.paradigm.model_dump() | {"precision": cell.precision} for cell in cells]
    labels = []
    for name, own in zip(names, values, strict=True):
        same = [value for other, value in zip(names, values, strict=True) if other == name]
        varied = [key for key in own if len({value.get(key) for value in same}) > 1]
        labels.append(", ".join([name, *(f"{key} {own[key]}" for key in varied)]))
    return labels


def data_label(cell: Cell) -> str:
    """Return the data of a cell, for example ``MNIST 14×14`` or ``N = 1,000``."""
    if not cell.data.is_synthetic:
        return f"{source_title(cell.data.source)} {cell.data.size_text}"
    return "fresh samples" if cell.data.num_train == "fresh" else f"N = {cell.data.num_train:,}"


def pairs_of(first: Arm, second: Arm) -> list[tuple[Run, Run]]:
    """Return the runs of every seed that is planned in both arms."""
    return [(first.by_seed[seed], second.by_seed[seed]) for seed in sorted(set(first.by_seed) & set(second.by_seed))]


def pair_up(
    first: Arm,
    second: Arm,
    measure: Callable[[Run, Run], float],
    *,
    without: str = NO_VALUE,
    first_may_diverge: bool = False,
) -> Sample:
    """Measure two finished runs of every seed that both arms have; the first may have diverged if so allowed.

    NaN and infinity are no value; ``without`` is the reason that is given for such a seed.
    """
    return _sample(pairs_of(first, second), measure, without, first_may_diverge)


def each(arm: Arm, measure: Callable[[Run], float], *, without: str = NO_VALUE) -> Sample:
    """Measure the run of every seed of an arm."""
    return _sample([(run,) for run in arm.runs], measure, without, False)


def _sample(
    groups: Sequence[tuple[Run, ...]], measure: Callable[..., float], without: str, first_may_diverge: bool
) -> Sample:
    values, lost = [], []
    for runs in groups:
        unfinished = [
            f"{run.id} {run.outcome}"
            for run in runs
            if run.outcome != "done" and not (first_may_diverge and run is runs[0] and run.outcome == "diverged")
        ]
        value = NAN if unfinished else measure(*runs)
        if math.isfinite(value):
            values.append(value)
        else:
            lost.append(f"seed {runs[0].cell.seed}: {', '.join(unfinished) or without}")
    return Sample(tuple(values), len(groups), tuple(run.id for runs in groups for run in runs), tuple(lost))
