"""Tuning studies: trials that choose the settings of a paradigm, and the winners that another study takes.

A tuning study is a study with ``purpose: tuning``. Its report writes the trials into a file, which a study that is
judged names with its SHA-256; cells with ``paradigm.tuned: true`` take their settings from it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from nllgen.errors import ConfigError
from nllgen.study.cell import Cell
from nllgen.study.models import Frozen, Name, Sha256
from nllgen.study.untrusted_files import read_regular

FILE_NAME = "tuning.json"  # beside report.html
MAX_BYTES = 1 << 20  # a trial has a thousand
Weights = Literal["raw", "ema"]
WEIGHTS: tuple[Weights, ...] = ("raw", "ema")
_LIKE = {
    "data": "on these data",
    "precision": "in this precision",
    "start": "from this start",
    "start_noise": "with this start_noise",
}


class TuningFile(Frozen):
    """The section ``tuning``: the file that the report of a tuning study wrote, and its SHA-256."""

    file: Annotated[str, Field(min_length=1)]
    sha256: Sha256


class Trial(Frozen):
    """A configuration that a tuning study tried.

    Attributes:
        cell: the configuration, with the first of its seeds.
        seeds: its seeds, a run each.
        frechet: kind of weights → mean over the runs of the Fréchet distance on validation at the end, on LeNet's
            features; null where a run diverged or has no finite distance, which is worse than any number.
    """

    cell: Cell
    seeds: Annotated[tuple[int, ...], Field(strict=False, min_length=1)]
    frechet: dict[Weights, Annotated[float, Field(allow_inf_nan=False)] | None]

    @property
    def num_runs(self) -> int:
        """Return the number of runs."""
        return len(self.seeds)

    @property
    def ranked(self) -> tuple[Weights, ...]:
        """Return the kinds of weights that it can win by: NLL is judged by its last ones, a game by their mean, too."""
        return WEIGHTS[:1] if self.cell.paradigm.name == "nll" else WEIGHTS

    def distance(self, weights: Weights) -> float:
        """Return the mean distance of a kind of weights; ∞ where there is none."""
        value = self.frechet.get(weights)
        return math.inf if value is None else value


class Tuning(Frozen):
    """The trials of a tuning study.

    Attributes:
        study: name of the tuning study.
        study_sha256: SHA-256 of the study.h5 that the distances were read from.
        sha256: SHA-256 of the file that this was read from; empty before it is written.
    """

    study: Name
    study_sha256: Sha256
    trials: Annotated[tuple[Trial, ...], Field(strict=False, min_length=1)]
    sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""

    @cached_property
    def runs(self) -> frozenset[tuple[str, str, int]]:
        """Return data, architecture and seed of every run: what no cell may have that is judged."""
        cells = [(trial.cell.data.canonical, trial.cell.architecture.canonical, trial) for trial in self.trials]
        return frozenset((data, model, seed) for data, model, trial in cells for seed in trial.seeds)


def best_trial(trials: Iterable[Trial]) -> tuple[Trial, Weights] | None:
    """Return the trial with the lowest mean distance and its kind of weights; None where no trial has a distance."""
    ranked = [(trial, kind) for trial in trials for kind in trial.ranked]
    best = min(ranked, key=lambda pair: pair[0].distance(pair[1]), default=None)
    return None if best is None or math.isinf(best[0].distance(best[1])) else best


def find_winner(tuning: Tuning, like: Mapping[str, object], values: Mapping[str, Any]) -> Trial:
    """Return the best trial among those that agree with a cell.

    Args:
        tuning: the trials.
        like: attributes of a cell that the trial must have: ``data``, the architecture, ``precision``, ``start``.
        values: settings of its paradigm that the trial must have, ``name`` among them.

    Raises:
        ValueError: there is none; the message says what was tried.
    """
    trials: Sequence[Trial] = tuning.trials
    study = f"the tuning study {tuning.study}"
    for key, value in like.items():
        trials = [trial for trial in trials if getattr(trial.cell, key) == value]
        if not trials:
            raise ValueError(f"{study} has no trial {_LIKE.get(key, f'of this {key}')}")
    for key, value in values.items():
        tried = sorted({str(getattr(trial.cell.paradigm, key, "–")) for trial in trials})
        trials = [trial for trial in trials if getattr(trial.cell.paradigm, key, None) == value]
        if not trials:
            raise ValueError(f"{study} has no trial with {key} {value} there; tried: {', '.join(tried)}")
    budgets = sorted({(trial.cell.paradigm.steps, trial.cell.paradigm.batch_size) for trial in trials})
    if len(budgets) > 1:
        shown = ", ".join(f"{steps:,} steps of {batch}" for steps, batch in budgets)
        raise ValueError(f"{study} has trials of {shown}; give paradigm.steps and paradigm.batch_size")
    best = best_trial(trials)
    if best is None:
        raise ValueError(f"{study} has no trial there that ended with a finite Fréchet distance")
    return best[0]


def tuning_bytes(tuning: Tuning) -> bytes:
    """Format the file of a tuning study's trials."""
    content = tuning.model_dump(mode="json", exclude={"sha256"})
    return (json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def read_tuning(path: Path, sha256: str) -> Tuning:
    """Read the file of a tuning study's trials.

    Raises:
        ConfigError: the file cannot be read, has another SHA-256, or is another kind of file.
    """
    try:
        content = read_regular(path, MAX_BYTES)
    except (OSError, ValueError) as error:  # a path with a zero byte is a ValueError
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"{str(path)!r} cannot be read: {reason}", f"`nllgen report` of the tuning study writes {FILE_NAME}"
        ) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise ConfigError(f"{path} has the SHA-256 {digest}, not {sha256}")
    try:
        return Tuning.model_validate_json(content).model_copy(update={"sha256": digest})
    except ValidationError as error:
        raise ConfigError(f"{path} is not the {FILE_NAME} of a tuning study's report") from error
