"""Number of examples: few on every commit, more with NLLGEN_SOAK, which ``make soak`` sets; small valid files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from benchmarks.dummy_worker import small_result
from nllgen.storage.dataset import NUMBERS, Dataset, write_dataset
from nllgen.storage.result import write_result
from nllgen.storage.schema import SPLITS
from nllgen.storage.study_file import write_study
from nllgen.study.load import parse_study
from tests.faults.bounded import study_of
from tests.faults.texts import GRID

settings.register_profile("ci", max_examples=80, deadline=None, derandomize=True, database=None)
settings.register_profile("soak", settings.get_profile("ci"), max_examples=400)


@pytest.fixture(scope="session")
def profile() -> settings:
    """Settings of tests whose actions hypothesis draws."""
    return settings.get_profile("soak" if os.environ.get("NLLGEN_SOAK") else "ci")


@pytest.fixture
def result(tmp_path: Path) -> Path:
    cell = parse_study(GRID, "g.yaml", precision="fp32").cells[0]
    write_result(tmp_path / "result.h5", small_result(cell), "a", lambda: None)
    return tmp_path / "result.h5"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    write_study(tmp_path / "study.h5", study_of(2))
    return tmp_path / "study.h5"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    x = {split: np.zeros((4, 1, 7, 7), np.float32) for split in SPLITS}
    log_prob = dict.fromkeys(SPLITS, np.linspace(-9, -1, 4))
    write_dataset(tmp_path / "dataset.h5", Dataset("t", "s", x, log_prob, dict.fromkeys(NUMBERS, 0.5)))
    return tmp_path / "dataset.h5"
