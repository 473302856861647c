"""Readers of damaged files end soon and in little memory, with a typed error or a valid object."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import strategies as st

from nllgen.errors import CorruptFileError
from tests.faults.confined import MEMORY_BYTES, read_many
from tests.faults.mutants import Target
from tests.faults.readers import targets
from tests.faults.work import work_directory

NUM_READS = 40  # of each kind of file
KINDS = [
    *(f"{name}, {how}" for name in ("result.h5", "dataset.h5", "study.h5")
      for how in ("damaged bytes", "rearranged with a valid checksum")),
    *(f"{name}, {how}" for name in ("checkpoint.pt", "truth.pt") for how in ("damaged bytes", "rearranged")),
    "grids", "frozen studies", "profiles", "attempts, progress and leases", "arrays made elsewhere",
]  # fmt: skip


@pytest.fixture(scope="module")
def made() -> Iterator[dict[str, Target]]:
    with work_directory() as directory:
        yield targets(directory)


def test_every_kind_of_file_is_read(made: dict[str, Target]) -> None:
    assert sorted(made) == sorted(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_mutated_file_is_refused_or_valid(made: dict[str, Target], kind: str) -> None:
    outcome = read_many(made[kind].examples, made[kind].read, NUM_READS, first_seed=0)
    assert outcome.bad == []
    assert outcome.count >= NUM_READS


def refuse(example: object) -> None:
    raise CorruptFileError("no")


READS: dict[str, Callable[[Any], object]] = {
    "hangs": lambda example: time.sleep(60),
    "dies by signal 11": lambda example: os.kill(os.getpid(), signal.SIGSEGV),
    "MemoryError": lambda example: bytearray(2 * MEMORY_BYTES),
    "ZeroDivisionError": lambda example: 1 / 0,
}


@pytest.mark.parametrize("what", READS)
def test_a_failure_of_a_reader_is_named_with_its_example(what: str) -> None:
    outcome = read_many(st.just("this one"), READS[what], 1, first_seed=3, read_s=0.3)
    assert len(outcome.bad) == 1
    assert what in outcome.bad[0]
    assert "seed 3: 'this one'" in outcome.bad[0]


def test_a_typed_error_is_counted() -> None:
    outcome = read_many(st.integers(), refuse, 20, first_seed=0)
    assert (outcome.outcomes, outcome.bad) == ({"CorruptFileError": 20}, [])
