"""What a command takes: time, and the memory of its largest process."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

# Linux gives a new process its parent's largest resident set, so that the parent has to be a small one.
_WATCH = """
import json, os, resource, subprocess, sys, time
begin = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
took = time.perf_counter() - begin
print(json.dumps([took, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9]))
"""


@dataclass(frozen=True)
class Spent:
    """Wall seconds, and gigabytes that the largest process held in memory at once."""

    seconds: float
    gb: float

    def __str__(self) -> str:
        return f"{self.seconds:.2f} s, {self.gb:.2f} GB"


def run_nllgen(*words: str | Path) -> None:
    """Run ``nllgen`` with these words; what it prints is not shown.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    subprocess.run([Path(sys.executable).with_name("nllgen"), *words], check=True, stdout=subprocess.DEVNULL)


def spend(*words: str | Path) -> Spent:
    """Run ``nllgen`` with these words.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    nllgen = Path(sys.executable).with_name("nllgen")
    command = [sys.executable, "-c", _WATCH, nllgen, *words]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    seconds, gb = json.loads(said)
    return Spent(seconds, gb)
