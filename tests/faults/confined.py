"""Readers in forked children with limits of time and memory: a crash or a hang is reported with its example."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import resource
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

from nllgen.errors import NllgenError

MEMORY_BYTES = 2**30  # beyond what the child has when it begins
READ_S = 20.0
_BATCH = 250


@dataclass
class Outcomes:
    """The outcomes of many reads.

    Attributes:
        outcomes: ``valid`` or the type of the error → number of reads.
        bad: crashes, hangs and errors other than NllgenError, each with its example.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Return the number of reads."""
        return self.outcomes.total() + len(self.bad)

    def add(self, other: Outcomes) -> None:
        """Add the counts of other reads."""
        self.outcomes += other.outcomes
        self.bad += other.bad

    def __str__(self) -> str:
        return ", ".join(f"{number:,} {what}" for what, number in self.outcomes.most_common())


def read_many(
    examples: SearchStrategy[Any], read: Callable[[Any], object], num: int, first_seed: int, *, read_s: float = READ_S
) -> Outcomes:
    """Read at least ``num`` examples in child processes, a new one for each few hundred examples."""
    reads, batch, fruitless = Outcomes(), 0, 0
    while reads.count < num and fruitless < 3:
        before = reads.count
        reads.add(_batch(examples, read, min(_BATCH, num - before), first_seed + batch, read_s))
        batch += 1
        fruitless = 0 if reads.count > before else fruitless + 1
    return reads


def _batch(examples: Any, read: Any, num: int, number: int, read_s: float) -> Outcomes:
    receiving, sending = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(receiving)
        _child(examples, read, num, number, read_s, sending)
    os.close(sending)
    with os.fdopen(receiving, "rb") as pipe:
        lines = pipe.read().decode(errors="replace").split("\n")
    _, status = os.waitpid(pid, 0)
    reads, last = Outcomes(), f"the start of seed {number}"
    for line in lines:
        word, _, rest = line.partition(" ")
        if word == "try":
            last = f"seed {number}: {rest}"
        elif word == "ok":
            reads.outcomes[rest] += 1
        elif word == "bad":
            reads.bad.append(f"{rest} at {last}")
    if os.WIFSIGNALED(status):
        how = "hangs" if os.WTERMSIG(status) == signal.SIGALRM else f"dies by signal {os.WTERMSIG(status)}"
        reads.bad.append(f"{how} at {last}")
    return reads


def _child(examples: Any, read: Any, num: int, number: int, read_s: float, pipe: int) -> None:
    """Read the examples, report each through the pipe and exit."""

    def report(word: str, text: str) -> None:
        os.write(pipe, f"{word} {text}".replace("\n", "\\n")[:2000].encode(errors="replace") + b"\n")

    @seed(number)
    @settings(
        max_examples=num,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(examples)
    def each(example: Any) -> None:
        report("try", repr(example)[:1000])
        signal.setitimer(signal.ITIMER_REAL, read_s)
        try:
            read(example)
            outcome = "ok valid"
        except NllgenError as error:
            outcome = f"ok {type(error).__name__}"
        except BaseException as error:
            outcome = f"bad {type(error).__name__}: {error}"
        signal.setitimer(signal.ITIMER_REAL, 0)
        report(*outcome.split(" ", 1))

    with contextlib.suppress(BaseException):
        faulthandler.disable()
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # HDF5 prints its errors
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY_BYTES,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        each()
        os._exit(0)
    report("bad", "the child could not go on")
    os._exit(1)
