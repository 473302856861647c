"""Trials of a tuning study: their distances, the winners, and the file that the judged study names."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from nllgen.study.config import Cell
from nllgen.study.image_sets import source_title
from nllgen.study.tuning import WEIGHTS, Trial, Tuning, Weights, best_trial, tuning_bytes
from nllgen_analysis.cells_frame import settings_of
from nllgen_analysis.claims.evidence import Arm, Evidence
from nllgen_analysis.claims.version2.rules import Rules, load_rules
from nllgen_analysis.claims.version2.tuning import budget_problem, problem_key, sides_of
from nllgen_analysis.frames import Frames
from nllgen_analysis.text import counted, number

_Key = tuple[object, ...]  # what trials of one problem share
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
        not_judged: a sentence for each problem on MNIST whose trials C1 cannot be judged by.
    """

    tuning: Tuning | None
    table: pd.DataFrame
    missing: tuple[str, ...]
    not_judged: tuple[str, ...]

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
    names = _problem_names([trial.cell for trial in trials])
    table = _table(arms, trials, names)
    return Trials(tuning, table, missing, tuple(_not_judged(evidence, trials, names)))


def _not_judged(evidence: Evidence[Rules], trials: Sequence[Trial], names: Mapping[_Key, str]) -> Iterator[str]:
    for sides in sides_of(evidence, trials):
        cell = sides[0][0].cell
        if cell.data.source == "mnist" and (text := budget_problem(evidence, sides)):
            yield f"C1 cannot be judged by the trials on {names[problem_key(cell)]}: {text}."


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


def _table(arms: Sequence[Arm], trials: Sequence[Trial], names: Mapping[_Key, str]) -> pd.DataFrame:
    groups: dict[tuple[str, str], list[int]] = {}
    for i, trial in enumerate(trials):
        groups.setdefault((names[problem_key(trial.cell)], trial.cell.paradigm.name), []).append(i)
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


def _problem_names(cells: Sequence[Cell]) -> dict[_Key, str]:
    """Name each problem; where two names would be equal, with the settings that tell them apart."""
    by_name: dict[str, dict[_Key, Cell]] = {}
    for cell in cells:
        by_name.setdefault(_problem(cell), {})[problem_key(cell)] = cell
    return {key: name + rest for name, alike in by_name.items() for key, rest in _differences(alike).items()}


def _differences(cells: Mapping[_Key, Cell]) -> dict[_Key, str]:
    """Return the settings besides those of the paradigm that differ between cells, in words."""
    settings = {}
    for key, cell in cells.items():
        own = {name: value for name, value in settings_of(cell).items() if "." in name}
        settings[key] = own | {"start": cell.start, "start_noise": cell.start_noise}
    varied = [name for name in dict.fromkeys(name for own in settings.values() for name in own)
              if len({own.get(name) for own in settings.values()}) > 1]  # fmt: skip
    return {key: "".join(f"; {name} {own.get(name)}" for name in varied) for key, own in settings.items()}


def _problem(cell: Cell) -> str:
    data, training = cell.data, cell.paradigm
    return (
        f"{source_title(data.source)} {data.size_text}, {data.num_train} images; {cell.kind}"
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
        have = "has" if len(trials.missing) == 1 else "have"
        return [f"{counted(len(trials.missing), 'trial')} {have} no result, so that there are no winners yet."]
    sentences: list[str] = []
    for problem, of_problem in trials.table.groupby("problem", sort=False):
        budgets = {str(name): _budget(rows) for name, rows in of_problem.groupby("paradigm", sort=False)}
        sentences += [
            f"{name.upper()} on {problem}: no winner, as none of {budget} has a finite Fréchet distance."
            for name, budget in budgets.items()
            if not of_problem.loc[of_problem["paradigm"] == name, "is_winner"].any()
        ]
        for row in of_problem[of_problem["is_winner"]].to_dict("records"):
            won = f"{row['settings'] or 'its only setting'} wins with a mean Fréchet distance of"
            distance = f"{number(row['validation_frechet'])} on validation ({row['weights']} weights)"
            name = str(row["paradigm"])
            sentences.append(f"{name.upper()} on {problem}: {won} {distance}, of {budgets[name]}.")
    sentences += trials.not_judged
    if not trials.table["is_winner"].any():
        return sentences
    named = f"tuning: {{file: {path}, sha256: {hashlib.sha256(trials.content).hexdigest()}}}"
    return [*sentences, f"A study takes these settings with `{named}` and `paradigm: {{name: …, tuned: true}}`."]


def _budget(rows: pd.DataFrame) -> str:
    by_config = rows.drop_duplicates("cell_ids")
    return f"{counted(len(by_config), 'configuration')} in {counted(int(by_config['runs'].sum()), 'run')}"
