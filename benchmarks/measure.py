"""Time and memory of a command, measured from outside."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

# Linux hands the parent's largest resident set on to a new process, so the parent has to be small.
_MEASURE = """
import json, resource, subprocess, sys, time
begin = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
seconds = time.perf_counter() - begin
print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9]))
"""
_NLLGEN = Path(sys.executable).with_name("nllgen")


@dataclass(frozen=True)
class Usage:
    """The resources that a command used.

    Attributes:
        seconds: wall time.
        gb: largest resident set of any of its processes.
    """

    seconds: float
    gb: float

    def __str__(self) -> str:
        return f"{self.seconds:.2f} s, {self.gb:.2f} GB"


def run_nllgen(*words: str | Path) -> None:
    """Run ``nllgen`` with these words and discard its standard output.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    subprocess.run([_NLLGEN, *words], check=True, stdout=subprocess.DEVNULL)


def measure_nllgen(*words: str | Path) -> Usage:
    """Run ``nllgen`` with these words and return its time and memory.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    command = [sys.executable, "-c", _MEASURE, _NLLGEN, *words]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    seconds, gb = json.loads(output)
    return Usage(seconds, gb)
