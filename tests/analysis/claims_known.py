"""Cells with known verdicts, and helpers that judge them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from nllgen_analysis.claims import Finding, Verdict, judge
from nllgen_analysis.frames import to_frames

from nllgen.storage.hdf5_data import Array
from nllgen.study.claims import VERSION, claims_sha256
from nllgen.study.config import (
    Cell,
    DataConfig,
    DCGANConfig,
    Degree,
    NSGANConfig,
)
from nllgen.study.degrees import student
from tests.analysis.conftest import STEPS, TRUTH_FLOW, TRUTH_ID, Override, Source, build_study, make_cell

BySeed = Callable[[int], float]
SEEDS = 5
NASH: dict[str, Any] = {"lr": 2e-4, "beta1": 0.5, "schedule": "constant"}


def verdicts(
    cells: Sequence[Cell], override: Override | None = None, version: int = VERSION, **settings: Any
) -> dict[str, Verdict]:
    """Judge a study with these cells and values by a version of the rules; return the verdicts by claim id."""
    known: dict[str, Any] = {"samples": 0, "claims_sha256": claims_sha256(version)} | settings
    judged = judge(to_frames(build_study(cells, override=override, **known)))
    return {row.id: row for row in judged.rows}


def finding(claim: str, cells: Sequence[Cell], override: Override | None = None, **settings: Any) -> Finding:
    return verdicts(cells, override, **settings)[claim].finding


verdicts1, finding1 = partial(verdicts, version=1), partial(finding, version=1)


def degrees(*names: Degree, seeds: int = SEEDS, **settings: Any) -> list[Cell]:
    return [make_cell(name, seed=seed, **settings) for name in names for seed in range(seeds)]


def both(
    source: Source = "synthetic",
    seeds: int = SEEDS,
    nll: dict[str, Any] | None = None,
    nsgan: dict[str, Any] | None = None,
) -> list[Cell]:
    """Return cells of W trained by NLL, then by NSGAN."""
    return [
        make_cell("W", paradigm, seed=seed, source=source, **(settings or {}))
        for paradigm, settings in (("nll", nll), ("nsgan", nsgan))
        for seed in range(seeds)
    ]


def dcgan(seed: int = 0) -> Cell:
    data = DataConfig(source="mnist", image_size=14, num_train="all")
    return Cell(
        data=data, dcgan=DCGANConfig(shape=(1, 14, 14)), paradigm=NSGANConfig(steps=STEPS, eval_every=100), seed=seed
    )


def is_gan(cell: Cell) -> bool:
    return cell.paradigm.name == "nsgan"


LADDER: tuple[Degree, ...] = ("U2", "U1", "W", "O1", "O2")
ORDERED = {"U2": 40.0, "U1": 30.0, "W": 20.0, "O1": 10.0, "O2": 0.0}
JITTER = {
    "U2": (0, 1, 2, 1, 0),
    "U1": (1, 0, 1, 2, 1),
    "W": (0, 0, 1, 1, 2),
    "O1": (2, 1, 0, 1, 0),
    "O2": (1, 1, 0, 0, 2),
}


def nash(seeds: int = SEEDS, **settings: Any) -> list[Cell]:
    return [make_cell("W", "nsgan", seed=s, start="truth", **settings) for s in range(seeds)] + [
        make_cell("W", "nll", seed=s, start="truth", **NASH) for s in range(seeds)
    ]


def ends(levels: Mapping[str, float], jitter: float = 1.0, column: str = "train_nll_nats") -> Override:
    """Let values fall by 100 nats to the degree's level, with a jitter by seed."""

    def values(cell: Cell, step: Array) -> dict[str, Any]:
        fall = 100 * (1 - np.asarray(step, float) / STEPS) ** 2
        return {column: levels[cell.degree] + jitter * JITTER[cell.degree][cell.seed % 5] + fall}

    return values


ALL = [
    *degrees(*LADDER), *both("mnist"), dcgan(), *nash(), *[make_cell("W", "nsgan", seed=s) for s in range(SEEDS)],
]  # fmt: skip


def cell(paradigm: Any, seed: int, *, start: Any = "random", source: Any = "synthetic", num: Any = 1000) -> Cell:
    is_synthetic = source == "synthetic"
    data = DataConfig(source=source, image_size=14, num_train=num if is_synthetic else "all",
                      truth_id=TRUTH_ID if is_synthetic else None)  # fmt: skip
    return Cell(data=data, flow=student(TRUTH_FLOW, "W"), paradigm=paradigm, start=start, seed=seed, degree="W")
