"""Trials of a tuning study: their distances, the winners, and the file that the judged study names."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from nllgen.study.config import Cell
from nllgen.study.tuning import WEIGHTS, Trial, Tuning, Weights, best_trial, tuning_bytes
from nllgen_analysis.claims.evidence import Arm, Evidence
from nllgen_analysis.claims.version2.rules import Rules, load_rules
from nllgen_analysis.frames import Frames
from nllgen_analysis.text import number

COLUMNS = (
    "problem", "paradigm", "settings", "runs", "weights", "validation_frechet", "is_winner", "cell_ids",
)  # fmt: skip


@dataclass(frozen=True)
class Trials:
    """The trials of a tuning study with their runs.

    Attributes:
        tuning: None while a trial has no result.
        table: a row for each configuration and kind of weights, the best of each problem and paradigm first.
        missing: ids of cells without a result.
    """

    tuning: Tuning | None
    table: pd.DataFrame
    missing: tuple[str, ...]

    @property
    def content(self) -> bytes | None:
        """Return the bytes of the file that another study names."""
        return None if self.tuning is None else tuning_bytes(self.tuning)


def read_trials(frames: Frames, study_sha256: str) -> Trials:
    """Return the trials of a tuning study whose study.h5 has a SHA-256."""
    evidence = Evidence(frames, load_rules())
    arms = evidence.arms
    trials = [_trial(evidence, arm) for arm in arms]
    missing = tuple(run.id for arm in arms for run in arm.runs if run.outcome == "missing")
    tuning = None if missing else Tuning(study=frames.name, study_sha256=study_sha256, trials=tuple(trials))
    return Trials(tuning, _table(arms, trials), missing)


def _trial(evidence: Evidence[Rules], arm: Arm) -> Trial:
    kinds = WEIGHTS if arm.cell.paradigm.ema_decay else WEIGHTS[:1]
    return Trial(
        cell=arm.cell,
        seeds=tuple(run.cell.seed for run in arm.runs),
        frechet={kind: _mean(evidence, arm, kind) for kind in kinds},
    )


def _mean(evidence: Evidence[Rules], arm: Arm, kind: Weights) -> float | None:
    """Return the mean distance of all runs; None if one of them has none, as where it diverged."""
    mean = float(np.mean([evidence.last(run, evidence.rules.general.frechet, kind) for run in arm.runs]))
    return mean if math.isfinite(mean) else None


def _table(arms: Sequence[Arm], trials: Sequence[Trial]) -> pd.DataFrame:
    groups: dict[tuple[str, str], list[int]] = {}
    for i, trial in enumerate(trials):
        groups.setdefault((problem_of(trial.cell), trial.cell.paradigm.name), []).append(i)
    rows = []
    for (problem, paradigm), members in groups.items():
        best = best_trial(trials[i] for i in members)
        varied = _varied([trials[i].cell for i in members])
        ranked = sorted(
            ((i, kind) for i in members for kind in trials[i].frechet), key=lambda p: trials[p[0]].distance(p[1])
        )
        for i, kind in ranked:
            settings = ", ".join(f"{key} {getattr(trials[i].cell.paradigm, key)}" for key in varied)
            is_best = best is not None and best[0] is trials[i] and best[1] == kind
            distance = trials[i].distance(kind)
            rows.append(
                (problem, paradigm, settings, len(trials[i].seeds), kind, distance, is_best, " ".join(arms[i].ids))
            )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def problem_of(cell: Cell) -> str:
    """Return data, model, precision and budget of a trial: trials that share them are compared."""
    data, training = cell.data, cell.paradigm
    source = "MNIST" if data.source == "mnist" else data.source
    return (
        f"{source} {data.image_size}×{data.image_size}, {data.num_train} images; {cell.kind}"
        f"{f' (width {cell.flow.width}, {cell.flow.coupling})' if cell.flow else ''}; {cell.precision}; "
        f"{training.steps:,} steps of {training.batch_size}"
    )


def _varied(cells: Sequence[Cell]) -> list[str]:
    """Return the settings of the paradigm that differ between cells."""
    values = [cell.paradigm.model_dump() for cell in cells]
    return [key for key in values[0] if len({str(value.get(key)) for value in values}) > 1]


def trial_sentences(trials: Trials, path: str) -> list[str]:
    """Return a sentence for each winner, on unequal budgets, and what a study that takes the settings has to name."""
    if trials.tuning is None or trials.content is None:
        return [f"{len(trials.missing)} trials have no result, so that there are no winners yet."]
    sentences = []
    for problem, of_problem in trials.table.groupby("problem", sort=False):
        budgets = {str(name): _budget(rows) for name, rows in of_problem.groupby("paradigm", sort=False)}
        for row in of_problem[of_problem["is_winner"]].to_dict("records"):
            won = f"{row['settings'] or 'its only setting'} wins with a mean Fréchet distance of"
            distance = f"{number(row['validation_frechet'])} on validation ({row['weights']} weights)"
            name = str(row["paradigm"])
            sentences.append(f"{name.upper()} on {problem}: {won} {distance}, of {budgets[name]}.")
        if len(set(budgets.values())) > 1:
            shown = "; ".join(f"{name}: {budget}" for name, budget in budgets.items())
            sentences.append(f"Budgets on {problem} are not equal, so that C1 cannot be judged by them ({shown}).")
    named = f"tuning: {{file: {path}, sha256: {hashlib.sha256(trials.content).hexdigest()}}}"
    return [*sentences, f"A study takes these settings with `{named}` and `paradigm: {{name: …, tuned: true}}`."]


def _budget(rows: pd.DataFrame) -> str:
    by_config = rows.drop_duplicates("cell_ids")
    return f"{len(by_config)} configurations in {int(by_config['runs'].sum())} runs"
