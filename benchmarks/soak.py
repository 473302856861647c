"""Thousands of injected faults: schedules of leases, mutated files, full disks. ``make soak`` runs it, and ``kills``.

Each part ends after its number of faults or its time, whichever comes first; the table has the number. An error that is
found is raised with its seed. ``NLLGEN_SOAK_S`` is the time of a part, by default 1,800 seconds.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from hypothesis import seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.faults.confined import Outcomes, read_many
from tests.faults.disks import DISK_BYTES, WRITERS, fill_at_every_page
from tests.faults.mutants import Target
from tests.faults.readers import raw_hdf5, raw_hdf5_arrays, targets
from tests.faults.schedules import COUNTS, Schedules
from tests.faults.work import work_directory

NUM_SCHEDULES, NUM_READS = 1_000, 1_000
PART_S = float(os.environ.get("NLLGEN_SOAK_S", "1800"))
Row = tuple[str, str, str]


def rows() -> list[Row]:
    """Return rows of (work, count, goal); root is needed to mount small disks."""
    return [*_schedules(), *_reads(), *_disks()]


def _schedules() -> Iterator[Row]:
    begin, number = time.monotonic(), 0
    while COUNTS["schedules"] < NUM_SCHEDULES and time.monotonic() - begin < PART_S:
        number += 1
        some = settings(max_examples=50, stateful_step_count=80, deadline=None, database=None)
        run_state_machine_as_test(seed(number)(Schedules), settings=some)
    counts = ", ".join(f"{COUNTS[what]:,} {what}" for what in ("supervisors", "kills", "pauses longer than the lease"))
    yield f"schedules of {counts}", f"{COUNTS['schedules']:,}", f"{NUM_SCHEDULES:,}"
    yield f"of {COUNTS['results published']:,} published results, cells with two, or lost cells", "0", "0"


def _reads() -> Iterator[Row]:
    total = Outcomes()
    with work_directory() as directory:
        known = targets(directory)
        for name, target in known.items():
            some = _for(target, NUM_READS, PART_S / len(known))
            if some.bad:
                raise AssertionError(f"{name}: {some.bad[:5]}")
            total.add(some)
        yield f"mutated files and texts of {len(known)} kinds: {total}", f"{total.count:,}", "≥ 10,000"
        yield "of these, crashes, hangs, more than 1 GiB, errors without a type", "0", "0"
        for name, target in (raw_hdf5(directory) | raw_hdf5_arrays(directory)).items():
            some = _for(target, NUM_READS, 120)
            kinds = Counter(text.split(" at ")[0][:40] for text in some.bad)
            yield f"{name} (HDF5's own parser; not promised)", f"{some.count:,}; {dict(kinds) or 'none bad'}", "—"


def _for(target: Target, num: int, seconds: float) -> Outcomes:
    outcomes, begin, number = Outcomes(), time.monotonic(), 0
    while outcomes.count < num and time.monotonic() - begin < seconds:
        outcomes.add(read_many(target.examples, target.read, min(250, num - outcomes.count), 1_000 + number))
        number += 1
    return outcomes


def _disks() -> Iterator[Row]:
    failed = 0
    for name in WRITERS:
        with tempfile.TemporaryDirectory(prefix="nllgen-soak-") as disk:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", disk], check=True)
            try:
                failed += fill_at_every_page(Path(disk), name)[0]
            finally:
                subprocess.run(["umount", disk], check=True)
    what = (
        f"full disks, at every page of {len(WRITERS)} kinds of writes; each with a typed error and a successful retry"
    )
    yield what, f"{failed:,}", "all"
