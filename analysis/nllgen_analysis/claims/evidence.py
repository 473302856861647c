"""What a study holds for its claims: runs, arms that differ in the seed alone, settings of arms that may be compared.

All of it is found from the cells' configurations; names and labels are only shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import ValidationError

from nllgen.study.config import Cell, Degree, FlowConfig
from nllgen.study.degrees import DEGREES, student
from nllgen_analysis.claims.rules import Rules
from nllgen_analysis.claims.verdict import NAN
from nllgen_analysis.frames import Frames

FloatArray = npt.NDArray[np.float64]
Rows = dict[tuple[int, str], pd.DataFrame]


@dataclass(frozen=True)
class Run:
    """One cell of the study.

    Attributes:
        row: of the frame of cells.
        degree: of its flow relative to the study's truth, by architecture; None for any other model.
    """

    row: int
    id: str
    cell: Cell
    outcome: str
    degree: Degree | None


@dataclass(frozen=True)
class Arm:
    """Runs whose configurations differ in the seed alone."""

    label: str
    runs: tuple[Run, ...]

    @property
    def cell(self) -> Cell:
        """The configuration, with the first seed."""
        return self.runs[0].cell

    @property
    def degree(self) -> Degree | None:
        """Of its flow."""
        return self.runs[0].degree

    @cached_property
    def by_seed(self) -> dict[int, Run]:
        """Seed → run."""
        return {run.cell.seed: run for run in self.runs}

    @property
    def ids(self) -> tuple[str, ...]:
        """Of its cells."""
        return tuple(run.id for run in self.runs)


@dataclass(frozen=True)
class Setting:
    """Arms of several degrees that share everything but the flow."""

    label: str
    arms: dict[Degree, Arm]


class Evidence:
    """A study, asked by claims.

    Args:
        frames: the study.
        rules: thresholds.
    """

    def __init__(self, frames: Frames, rules: Rules):
        self.frames = frames
        self.rules = rules
        self.min_seeds = rules.general.min_seeds
        self._eval = _by_cell(frames.eval)
        self._final = _by_cell(frames.final)

    def confidence(self, num_parts: int) -> float:
        """Of each of so many intervals that share one error (Bonferroni)."""
        return 1 - (1 - self.rules.general.confidence) / max(1, num_parts)

    @cached_property
    def runs(self) -> list[Run]:
        """Every cell but the truth's own training."""
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
        """In the order of the study."""
        found: dict[str, list[Run]] = {}
        for run in self.runs:
            found.setdefault(run.cell.model_dump_json(exclude={"seed", "degree"}), []).append(run)
        groups = self.frames.cells["group"]
        return [Arm(str(groups[runs[0].row]), tuple(runs)) for runs in found.values()]

    @property
    def _truth_flow(self) -> FlowConfig | None:
        truths = [cell for cell, role in zip(self.frames.configs, self.frames.cells["role"], strict=True)
                  if role == "truth"]  # fmt: skip
        if truths:
            return truths[0].flow
        return self.frames.pretrained_truth.flow if self.frames.pretrained_truth else None

    def is_plain_nsgan(self, cell: Cell) -> bool:
        """Whether it is trained as the registered rules call NSGAN, whatever the model is."""
        wanted = self.rules.plain_nsgan.items()
        return cell.paradigm.name == "nsgan" and all(getattr(cell.paradigm, key) == value for key, value in wanted)

    def degree_settings(
        self, required: Sequence[Degree], extra: Sequence[Degree], min_extra: int = 0
    ) -> tuple[list[Setting], list[str]]:
        """Settings in which degrees were trained by NLL on a finite synthetic set from a random start.

        Args:
            required: degrees that a setting must have, with enough planned seeds in common.
            extra: degrees that are in it where they have enough seeds in common with the required ones.
            min_extra: how many of those it must have.

        Returns:
            The settings, and what was left out and why.
        """
        found: dict[str, dict[Degree, Arm]] = {}
        for arm in self.arms:
            if arm.degree in (*required, *extra) and _is_finite_nll(arm.cell):
                key = arm.cell.model_dump_json(exclude={"flow", "seed", "degree"})
                found.setdefault(key, {})[arm.degree] = arm
        labels = _setting_labels([next(iter(arms.values())).cell for arms in found.values()])
        settings, skipped = [], []
        for label, arms in zip(labels, found.values(), strict=True):
            kept, short = self._enough(arms, required, extra)
            if short or sum(degree in kept for degree in extra) < min_extra:
                skipped.append(f"{label} lacks {', '.join(short) or ' or '.join(extra)} with {self._seeds}")
                continue
            settings.append(Setting(label, kept))
            left = [degree for degree in arms if degree not in kept]
            if left:
                skipped.append(f"{', '.join(left)} in {label}, planned with fewer than {self.min_seeds} seeds")
        return settings, skipped

    @property
    def _seeds(self) -> str:
        return f"{self.min_seeds} planned seeds in common"

    def _enough(
        self, arms: dict[Degree, Arm], required: Sequence[Degree], extra: Sequence[Degree]
    ) -> tuple[dict[Degree, Arm], list[Degree]]:
        seeds = {degree: set(arms[degree].by_seed) if degree in arms else set() for degree in (*required, *extra)}
        common = set.intersection(*(seeds[degree] for degree in required))
        short = [degree for degree in required if len(seeds[degree]) < self.min_seeds]
        if len(common) < self.min_seeds:
            return {}, short or list(required)
        kept = [degree for degree in (*required, *extra) if len(seeds[degree] & common) >= self.min_seeds]
        return {degree: arms[degree] for degree in kept}, []

    # values of a run; NaN where it has none

    def last(self, run: Run, column: str, weights: str = "raw") -> float:
        """At the last evaluation of a finished run."""
        values = self._values(self._eval, run, weights, column)
        return float(values[-1]) if run.outcome == "done" and len(values) else NAN

    def last_finite(self, run: Run, column: str) -> float:
        """The last finite value after the start, also of a run that diverged."""
        curve = self.curve(run, column)
        return float(curve.iloc[-1]) if len(curve) and curve.index[-1] > 0 else NAN

    def final(self, run: Run, column: str, weights: str = "last") -> float:
        """On the test split."""
        values = self._values(self._final, run, weights, column)
        return float(values[-1]) if run.outcome == "done" and len(values) else NAN

    def curve(self, run: Run, column: str) -> pd.Series:
        """Finite values of the raw weights by step."""
        values = self._values(self._eval, run, "raw", column)
        steps = self._values(self._eval, run, "raw", "step")
        finite = np.isfinite(values)
        return pd.Series(values[finite], index=steps[finite])

    def number(self, run: Run, column: str) -> float:
        """A number of the frame of cells, such as ``seconds_per_step``."""
        return float(self.frames.cells[column].iloc[run.row])

    def text(self, run: Run, column: str) -> str:
        """A text of the frame of cells, such as ``device``."""
        return str(self.frames.cells[column].iloc[run.row])

    @staticmethod
    def _values(table: Rows, run: Run, weights: str, column: str) -> FloatArray:
        rows = table.get((run.row, weights))
        return np.empty(0) if rows is None else rows[column].to_numpy(float)


def _by_cell(table: pd.DataFrame) -> Rows:
    """Rows of one cell and one kind of weights by step; of rows with the same step the last."""
    ordered = table.sort_values("step", kind="stable").drop_duplicates(["cell", "weights", "step"], keep="last")
    return {(int(cell), str(weights)): part for (cell, weights), part in ordered.groupby(["cell", "weights"])}


def _degrees(truth: FlowConfig | None) -> dict[FlowConfig, Degree]:
    """Flow → degree; W* has W's flow."""
    found: dict[FlowConfig, Degree] = {}
    if truth is None:
        return found
    for degree in ("W", *DEGREES):
        try:
            found.setdefault(student(truth, degree), degree)
        except ValidationError:  # a truth that has no such student
            continue
    return found


def _is_finite_nll(cell: Cell) -> bool:
    trained = cell.paradigm.name == "nll" and cell.paradigm.steps > 0
    finite = cell.data.source == "synthetic" and isinstance(cell.data.num_train, int)
    return trained and finite and cell.start == "random"


def _setting_labels(cells: Sequence[Cell]) -> list[str]:
    """``N = 1,000``, with what else tells them apart where that is not enough."""
    labels = [data_label(cell) for cell in cells]
    values = [cell.paradigm.model_dump() | {"precision": cell.precision} for cell in cells]
    told = []
    for label, own in zip(labels, values, strict=True):
        others = [value for text, value in zip(labels, values, strict=True) if text == label]
        varied = [key for key in own if len({value.get(key) for value in others}) > 1]
        told.append(", ".join([label, *(f"{key} {own[key]}" for key in varied)]))
    return told


def data_label(cell: Cell) -> str:
    """For example ``MNIST 14×14`` or ``N = 1,000``."""
    if cell.data.source == "mnist":
        return f"MNIST {cell.data.image_size}×{cell.data.image_size}"
    return "fresh samples" if cell.data.num_train == "fresh" else f"N = {cell.data.num_train:,}"
