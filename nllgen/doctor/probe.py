"""What the doctor's probes have in common: a finding, and asking a command that may never answer."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from nllgen.launch.slurm.commands import leaks

Level = Literal["ok", "note", "problem"]
PATIENCE_S = 15.0  # the commands of Slurm give a silent controller ten


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        section: what it belongs to: ``Slurm``, ``folder``, ``container``, ``GPUs``, ``Python``, ``assets``.
        name: of what was looked at.
        value: what was found, in few words.
        level: ``problem`` where something will fail, ``note`` where it is worth knowing.
        means: what follows for nllgen.
        todo: what can be done; empty where nothing has to.
        stops_submission: whether no study can be sent to Slurm because of it.
    """

    section: str
    name: str
    value: str
    level: Level = "ok"
    means: str = ""
    todo: str = ""
    stops_submission: bool = False


@dataclass(frozen=True)
class Answer:
    """What a command said.

    Attributes:
        text: its standard output; empty where it failed.
        error: why there is no answer; empty where there is one.
    """

    text: str = ""
    error: str = ""


def ask(command: Sequence[str], patience_s: float = PATIENCE_S) -> Answer:
    """Run a command that only looks; never raises, and never waits longer than it is told. Prints English.

    Args:
        command: program and arguments.
        patience_s: seconds until it is ended with all its children.
    """
    if shutil.which(command[0]) is None:
        return Answer(error=f"{command[0]} is not on PATH")
    env = {name: value for name, value in os.environ.items() if not leaks(name)} | {"LC_ALL": "C"}
    try:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            start_new_session=True,  # a wrapper's children are ended with it, and Ctrl-C is ours alone
        )
    except OSError as error:
        return Answer(error=f"{command[0]} cannot be run: {error.strerror or error}")
    return _hear(process, command[0], patience_s)


def _hear(process: subprocess.Popen[bytes], program: str, patience_s: float) -> Answer:
    try:
        out, err = process.communicate(timeout=patience_s)
    except subprocess.TimeoutExpired:
        return Answer(error=f"{program} did not answer in {patience_s:g} s")
    finally:
        _end(process)
    if process.returncode != 0:
        said = (err or out).decode(errors="replace").strip().splitlines()
        return Answer(error=f"{program}: {said[-1] if said else f'exit code {process.returncode}'}")
    return Answer(text=out.decode(errors="replace"))


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what is left of a command; one that hangs in the kernel, as on a dead file server, is left to it."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=1)
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
