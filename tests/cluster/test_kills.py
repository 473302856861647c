"""Random kills while a study runs on the cluster: it ends with the results of an undisturbed run, each once."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from tests.cluster.devcluster import Cluster
from tests.faults.kills import Kills

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
NUM_KILLS, NUM_SEEDS = (50, 4) if os.environ.get("NLLGEN_SOAK") else (10, 2)  # two of each kind
PATIENCE_S = 240


def test_random_kills_lose_double_and_change_nothing(cluster: Cluster, mnist_assets: Path, tmp_path: Path) -> None:
    killed = Kills(tmp_path, cluster.env | {"NLLGEN_ASSETS": str(mnist_assets)}, random.Random(0), NUM_SEEDS)
    try:
        killed.undisturbed()
        until, number = time.monotonic() + PATIENCE_S, 0
        while (left := NUM_KILLS - killed.kills.total()) > 0 and time.monotonic() < until:
            number += 1
            killed.round(f"r{number}", left, until)
    finally:
        killed.stop()
    assert killed.kills.total() >= NUM_KILLS // 2  # of a busy machine; each round has checked its results
    assert killed.published == number * len(killed.calm)
