"""The measurement of this machine that plans estimate times by, in a process with torch, once."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from nllgen.errors import ConfigError, MachineError
from nllgen.launch.gpus import has_torch
from nllgen.planning.calibration import (
    VARIABLE,
    KnownCalibration,
    Machine,
    Source,
    calibration_file,
    known_calibration,
    read_calibration,
    write_calibration,
)
from nllgen.planning.fit import cells_to_time, fit
from nllgen.storage.atomic import locked, make_folder
from nllgen.study.config import Cell
from nllgen.study.hardware import THREAD_VARIABLES, auto_precision

if TYPE_CHECKING:
    from nllgen.study.run_options import TimingAnswer

IN_JOB = "SLURM_JOB_ID"
_MOST_PROCESSES = 32
_BUSY_LOAD = 0.5  # runnable processes on a core, of the last minute
_GPUS = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
_TIMEOUT_S = 300.0


def calibrate(echo: Callable[[str], None]) -> KnownCalibration:
    """Return this machine's calibration; measure it where that was not done before, and keep it for this user.

    A job is not kept waiting, and a machine without torch has nothing to measure: they take the shipped values.

    Args:
        echo: prints a line before the measurement.
    """
    known = known_calibration()
    if known.source is Source.MEASURED or os.environ.get(VARIABLE) == "off":
        return known
    if os.environ.get(IN_JOB):
        return replace(known, reason="a job does not measure its machine")
    if not has_torch():
        return replace(known, reason="torch is not installed here")
    assert known.machine is not None
    echo("measuring the speed of this machine, once: about ten seconds")
    with _alone(known.machine):
        if (other := known_calibration()).source is Source.MEASURED:
            return other
        try:
            measured = _measure(known.machine)
        except (ConfigError, OSError, ValueError, subprocess.SubprocessError) as error:
            return replace(known, reason=f"measuring this machine failed ({reason_of(error)})")
    if read_calibration(known.machine) is None:
        place = calibration_file(known.machine).parent
        echo(f"it cannot be kept in {place}, so that the next plan measures again; {VARIABLE}=off measures nothing")
    return measured


@contextlib.contextmanager
def _alone(machine: Machine) -> Iterator[None]:
    """Let one process of this user measure at a time, since two would slow each other down, where that can be had."""
    directory = calibration_file(machine).parent
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(MachineError, OSError):
            make_folder(directory)
            stack.enter_context(locked(directory))
        yield


def _measure(machine: Machine) -> KnownCalibration:
    was_busy = os.getloadavg()[0] > _BUSY_LOAD * (os.cpu_count() or 1)
    cells = cells_to_time(auto_precision())
    answer = time_cells(cells, processes=min(machine.cores, _MOST_PROCESSES))
    return write_calibration(machine, fit(cells, answer), was_busy=was_busy)


def time_cells(cells: Sequence[Cell], processes: int = 0) -> TimingAnswer:
    """Time cells in a process of their own, with one thread, on processors alone.

    GPUs are hidden, since torch refuses to differentiate in a forked process once autograd has seen one.

    Raises:
        ConfigError: it answered with something else.
        SubprocessError: it failed, or took minutes.
        OSError: it could not be started.
    """
    from nllgen.study.run_options import TimingAnswer, TimingOrder  # here, as most plans time nothing

    order = TimingOrder(tuple(cell.model_dump_json() for cell in cells), processes)
    variables = {**dict.fromkeys(THREAD_VARIABLES, "1"), **dict.fromkeys(_GPUS, ""), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "nllgen", "time"], input=order.to_json(), capture_output=True, text=True, check=True,
        timeout=_TIMEOUT_S, env=os.environ | variables,
    )  # fmt: skip
    return TimingAnswer.from_json(done.stdout.strip().rpartition("\n")[2])


def reason_of(error: Exception) -> str:
    """Return in one line why nothing was timed."""
    if isinstance(error, subprocess.CalledProcessError):
        lines = str(error.stderr or "").strip().splitlines()
        return lines[-1][:200] if lines else f"exit code {error.returncode}"
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
