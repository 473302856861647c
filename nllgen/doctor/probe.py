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
    """One checked property of the machine or its cluster.

    Attributes:
        section: group that it belongs to: ``Slurm``, ``folder``, ``container``, ``GPUs``, ``Python``, ``assets``.
        name: of the property.
        value: of the property, in few words.
        level: ``problem`` where something will fail, ``note`` where it is worth knowing.
        means: the consequence for nllgen.
        hint: what can be done; empty where nothing has to be.
        stops_submission: whether no study can be sent to Slurm because of it.
    """

    section: str
    name: str
    value: str
    level: Level = "ok"
    means: str = ""
    hint: str = ""
    stops_submission: bool = False


@dataclass(frozen=True)
class Answer:
    """Output of a program.

    Attributes:
        text: its standard output; empty where it failed.
        error: why there is no answer; empty where there is one.
    """

    text: str = ""
    error: str = ""


def ask(command: Sequence[str], timeout_s: float = _TIMEOUT_S) -> Answer:
    """Run a program that only reads; never raise, and kill it with its children after a time limit."""
    try:
        return Answer(run_program(command, timeout_s, os.environ))
    except MachineError as error:
        return Answer(error=error.message)
