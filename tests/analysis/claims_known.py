"""Studies that claims are judged on, and how a test asks for a verdict."""

from __future__ import annotations

import numpy as np
from nllgen_analysis.claims import judge
from nllgen_analysis.frames import to_frames

from nllgen.study.config import Cell, DataConfig, DCGANConfig, NSGANConfig
from tests.analysis.conftest import STEPS, build_study, make_cell

SEEDS = 5
NASH = {"lr": 2e-4, "beta1": 0.5, "schedule": "constant"}


def verdicts(cells, override=None, **settings):
    """Claim id → verdict, of a study with these cells and values."""
    settings = {"samples": 0} | settings
    judged = judge(to_frames(build_study(cells, override=override, **settings)))
    return {row.id: row for row in judged.rows}


def finding(claim, cells, override=None, **settings):
    return verdicts(cells, override, **settings)[claim].finding


def degrees(*names, seeds=SEEDS, **settings):
    return [make_cell(name, seed=seed, **settings) for name in names for seed in range(seeds)]


def both(source="synthetic", seeds=SEEDS, nll=None, nsgan=None):
    """W by NLL, then by NSGAN."""
    return [
        make_cell("W", paradigm, seed=seed, source=source, **(settings or {}))
        for paradigm, settings in (("nll", nll), ("nsgan", nsgan))
        for seed in range(seeds)
    ]


def dcgan(seed=0):
    data = DataConfig(source="mnist", image_size=14, num_train="all")
    return Cell(
        data=data, dcgan=DCGANConfig(shape=(1, 14, 14)), paradigm=NSGANConfig(steps=STEPS, eval_every=100), seed=seed
    )


def is_gan(cell):
    return cell.paradigm.name == "nsgan"


LADDER = ("U2", "U1", "W", "O1", "O2")
ORDERED = {"U2": 40.0, "U1": 30.0, "W": 20.0, "O1": 10.0, "O2": 0.0}
JITTER = {
    "U2": (0, 1, 2, 1, 0),
    "U1": (1, 0, 1, 2, 1),
    "W": (0, 0, 1, 1, 2),
    "O1": (2, 1, 0, 1, 0),
    "O2": (1, 1, 0, 0, 2),
}


def nash(seeds=SEEDS, **settings):
    return [make_cell("W", "nsgan", seed=s, start="truth", **settings) for s in range(seeds)] + [
        make_cell("W", "nll", seed=s, start="truth", **NASH) for s in range(seeds)
    ]


def ends(levels, jitter=1.0, column="train_nll_nats"):
    """A fall by 100 nats to the degree's level, and a jitter by seed."""

    def values(cell, step):
        fall = 100 * (1 - np.asarray(step, float) / STEPS) ** 2
        return {column: levels[cell.degree] + jitter * JITTER[cell.degree][cell.seed % 5] + fall}

    return values


ALL = [
    *degrees(*LADDER), *both("mnist"), dcgan(), *nash(), *[make_cell("W", "nsgan", seed=s) for s in range(SEEDS)],
]  # fmt: skip
