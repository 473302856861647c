"""Programs that may fail or hang; each has a time limit."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence

from nllgen.errors import MachineError


def run_program(command: Sequence[str], timeout_s: float, environment: Mapping[str, str], hint: str = "") -> str:
    """Run a program that only reads, in English, and return its standard output.

    Args:
        command: program and arguments.
        timeout_s: seconds until the program and its children are killed.
        environment: all of its variables; ``LC_ALL`` is replaced.
        hint: what to do where it fails.

    Raises:
        MachineError: the program is missing, fails, or does not answer in time.
    """
    program = command[0]
    if shutil.which(program) is None:
        raise MachineError(f"{program} is not on PATH", hint)
    try:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**environment, "LC_ALL": "C"},
            start_new_session=True,  # a wrapper's children are killed with it
        )
    except OSError as error:
        raise MachineError(f"{program} cannot be run: {error.strerror or error}", hint) from error
    try:
        output, errors = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise MachineError(f"{program} did not answer in {timeout_s:g} s", hint) from error
    finally:
        _kill(process)
    if process.returncode != 0:
        lines = (errors or output).decode(errors="replace").strip().splitlines()
        raise MachineError(f"{program} failed: {lines[-1] if lines else f'exit code {process.returncode}'}", hint)
    return output.decode(errors="replace")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a program that still runs, without waiting for one that hangs in the kernel, as on a dead file server."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=1)
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
