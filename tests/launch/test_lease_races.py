"""Races of real processes for leases: no two ever hold one."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import IO

RACER = """
import sys
from pathlib import Path
from nllgen.launch.lease import LeaseManager
folder, mine = Path(sys.argv[1]), LeaseManager()
print("ready", flush=True)
sys.stdin.readline()
held = [i for i in range(200) if (lease := mine.take(folder / str(i) / "lease")) and lease.is_mine()]
print(*held, flush=True)
sys.stdin.readline()  # nobody's lease ends before all have tried
"""


def stdout_of(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout is not None
    return process.stdout


def race(folder: Path, num_racers: int) -> list[list[str]]:
    """Return the leases of each racer, all held at the same time."""
    command = [sys.executable, "-c", RACER, str(folder)]
    racers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(num_racers)
    ]
    try:
        for racer in racers:
            assert stdout_of(racer).readline() == "ready\n"
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        return [stdout_of(racer).readline().split() for racer in racers]
    finally:
        for racer in racers:
            racer.communicate("end\n", timeout=60)


def test_two_processes_never_hold_one_lease(tmp_path: Path) -> None:
    held = Counter(i for got in race(tmp_path, 2) for i in got)
    assert (len(held), set(held.values())) == (200, {1})


def test_processes_never_take_over_one_lease_together(tmp_path: Path) -> None:
    race(tmp_path, 1)  # and its leases are a dead process's
    held = Counter(i for got in race(tmp_path, 4) for i in got)
    assert (len(held), set(held.values())) == (200, {1})
