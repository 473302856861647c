"""Reading what hypothesis made, in forked children with little time and memory: whoever crashes or hangs is named."""

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
class Found:
    """What became of many reads.

    Attributes:
        outcomes: ``valid``, or the error's type → how often.
        bad: what must not be: crashes, hangs and errors without a type of ours, each with the example.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Reads."""
        return self.outcomes.total() + len(self.bad)

    def add(self, other: Found) -> None:
        """Count these as well."""
        self.outcomes += other.outcomes
        self.bad += other.bad

    def __str__(self) -> str:
        return ", ".join(f"{number:,} {what}" for what, number in self.outcomes.most_common())


def read_many(
    examples: SearchStrategy[Any], read: Callable[[Any], object], num: int, first_seed: int, *, read_s: float = READ_S
) -> Found:
    """At least ``num`` examples, each read in a child; a new child for each few hundred of them."""
    found, batch, fruitless = Found(), 0, 0
    while found.count < num and fruitless < 3:
        before = found.count
        found.add(_batch(examples, read, min(_BATCH, num - before), first_seed + batch, read_s))
        batch += 1
        fruitless = 0 if found.count > before else fruitless + 1
    return found


def _batch(examples: Any, read: Any, num: int, number: int, read_s: float) -> Found:
    receiving, sending = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(receiving)
        _child(examples, read, num, number, read_s, sending)
    os.close(sending)
    with os.fdopen(receiving, "rb") as pipe:
        lines = pipe.read().decode(errors="replace").split("\n")
    _, status = os.waitpid(pid, 0)
    found, last = Found(), f"the start of seed {number}"
    for line in lines:
        word, _, rest = line.partition(" ")
        if word == "try":
            last = f"seed {number}: {rest}"
        elif word == "ok":
            found.outcomes[rest] += 1
        elif word == "bad":
            found.bad.append(f"{rest} at {last}")
    if os.WIFSIGNALED(status):
        how = "hangs" if os.WTERMSIG(status) == signal.SIGALRM else f"dies by signal {os.WTERMSIG(status)}"
        found.bad.append(f"{how} at {last}")
    return found


def _child(examples: Any, read: Any, num: int, number: int, read_s: float, pipe: int) -> None:
    """Never returns."""

    def tell(word: str, text: str) -> None:
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
        tell("try", repr(example)[:1000])
        signal.setitimer(signal.ITIMER_REAL, read_s)
        try:
            read(example)
            outcome = "ok valid"
        except NllgenError as error:
            outcome = f"ok {type(error).__name__}"
        except BaseException as error:
            outcome = f"bad {type(error).__name__}: {error}"
        signal.setitimer(signal.ITIMER_REAL, 0)
        tell(*outcome.split(" ", 1))

    with contextlib.suppress(BaseException):
        faulthandler.disable()
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # HDF5's own words
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY_BYTES,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        each()
        os._exit(0)
    tell("bad", "the child could not go on")
    os._exit(1)
