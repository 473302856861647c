"""A thousand SIGKILLs at random moments of studies on the devcluster, bounded in count and time like ``soak``."""

from __future__ import annotations

import os
import random
import tempfile
import time
from pathlib import Path

from benchmarks.soak import PART_S, Row
from nllgen.assets import asset_folder
from tests.faults.kills import KINDS, Kills

NUM_KILLS = 1_000
KILLS_A_STUDY = 100


def rows() -> list[Row]:
    """Return rows of (work, count, goal).

    SLURM_CONF must name a running devcluster. ``NLLGEN_SOAK_SEED`` is the seed of all random choices.
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))}
    environ = clean | {"SLURM_CONF": os.environ["SLURM_CONF"], "NLLGEN_ASSETS": str(asset_folder())}
    seed = int(os.environ.get("NLLGEN_SOAK_SEED", "1"))
    with tempfile.TemporaryDirectory(prefix="nllgen-soak-", dir="/var/tmp") as name:
        killed = Kills(Path(name), environ, random.Random(seed))
        try:
            killed.undisturbed()
            until, number = time.monotonic() + PART_S, 0
            while killed.kills.total() < NUM_KILLS and time.monotonic() < until:
                number += 1
                killed.round(f"r{number}", KILLS_A_STUDY, until)
        finally:
            killed.stop()
    counts = ", ".join(f"{killed.kills[kind]} of a {kind}" for kind in KINDS)
    return [
        (
            f"SIGKILLs in {number} studies on the devcluster, seed {seed}: {counts}",
            f"{killed.kills.total():,}",
            "1,000",
        ),
        (f"of {killed.published} results, lost, doubled, or with another science_sha256", "0", "0"),
    ]
