"""A finding of the doctor, and calls of programs that may never answer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from nllgen.errors import MachineError
from nllgen.launch.slurm.commands import run_program

Level = Literal["ok", "note", "problem"]
_TIMEOUT_S = 15.0


@dataclass(frozen=True)
class Finding:
    """One checked property of the machine or its cluster."""

    section: str  # group that it belongs to: ``Slurm``, ``folder``, ``container``, ``GPUs``, ``Python``, ``assets``
    name: str
    value: str  # of the property, in few words
    level: Level = "ok"  # ``problem`` where something will fail, ``note`` where it is worth knowing
    means: str = ""  # the consequence for nllgen
    hint: str = ""  # what can be done; empty where nothing has to be
    stops_submission: bool = False  # whether no study can be sent to Slurm because of it


@dataclass(frozen=True)
class Answer:
    """Output of a program."""

    text: str = ""  # its standard output; empty where it failed
    error: str = ""  # why there is no answer; empty where there is one


def ask(command: Sequence[str], timeout_s: float = _TIMEOUT_S) -> Answer:
    """Run a program that only reads; never raise, and kill it with its children after a time limit."""
    try:
        return Answer(run_program(command, timeout_s, os.environ))
    except MachineError as error:
        return Answer(error=error.message)
