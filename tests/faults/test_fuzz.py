"""Whatever is wrong with a file, its reader ends soon, with a typed error or a valid object, in little memory."""

import os
import signal
import time

import pytest
from hypothesis import strategies as st

from nllgen.errors import CorruptFileError
from tests.faults.confined import MEMORY_BYTES, read_many
from tests.faults.readers import targets
from tests.faults.work import work_folder

NUM_READS = 40  # of each kind of file
KINDS = [
    *(f"{name}, {how}" for name in ("result.h5", "dataset.h5", "study.h5")
      for how in ("damaged bytes", "rearranged and sealed again")),
    *(f"{name}, {how}" for name in ("checkpoint.pt", "truth.pt") for how in ("damaged bytes", "rearranged")),
    "grids", "frozen studies", "profiles", "attempts, progress and leases", "arrays made elsewhere",
]  # fmt: skip


@pytest.fixture(scope="module")
def made():
    with work_folder() as folder:
        yield targets(folder)


def test_every_kind_of_file_is_read(made):
    assert sorted(made) == sorted(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_mutated_file_is_refused_or_valid(made, kind):
    found = read_many(made[kind].examples, made[kind].read, NUM_READS, first_seed=0)
    assert found.bad == []
    assert found.count >= NUM_READS


# that the children's keeper would notice


def raise_os_error(example):
    raise CorruptFileError("no")


READS = {
    "hangs": lambda example: time.sleep(60),
    "dies by signal 11": lambda example: os.kill(os.getpid(), signal.SIGSEGV),
    "MemoryError": lambda example: bytearray(2 * MEMORY_BYTES),
    "ZeroDivisionError": lambda example: 1 / 0,
}


@pytest.mark.parametrize("what", READS)
def test_what_must_not_be_is_named_with_its_example(what):
    found = read_many(st.just("this one"), READS[what], 1, first_seed=3, read_s=0.3)
    assert len(found.bad) == 1
    assert what in found.bad[0]
    assert "seed 3: 'this one'" in found.bad[0]


def test_what_may_be_is_counted():
    found = read_many(st.integers(), raise_os_error, 20, first_seed=0)
    assert (found.outcomes, found.bad) == ({"CorruptFileError": 20}, [])
