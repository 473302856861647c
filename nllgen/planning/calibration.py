"""The speed of a machine, by which plans estimate seconds: measured once and kept in a cache, or as shipped."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import time
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict

from nllgen.errors import MachineError
from nllgen.storage.atomic import make_folder, write_bytes
from nllgen.study.hardware import num_cores
from nllgen.study.untrusted_files import read_regular
from nllgen.study.user_directories import user_directory

_VERSION = 1  # of what is measured; a file of another version is measured anew
_MAX_BYTES = 1 << 20
_BUSY_KEPT_S = 3600.0  # a measurement beside other programs is kept so long


@dataclass(frozen=True)
class Calibration:
    """Speed and size of one core; as shipped, fitted to NLL steps on an AMD EPYC with AVX-512 bf16, torch 2.13.

    The shipped values are within a quarter of what was measured there (batches of 16 to 128, 14×14 and 28×28, width 8
    to 32, one thread), for steps of every paradigm and of a DCGAN.

    Attributes:
        gflops_bf16, gflops_fp32: effective 10⁹ floating-point operations a second in convolutions.
        ns_per_activation: nanoseconds a feature-map value for all that is not a multiplication: memory, activation
            functions, the optimiser.
        s_per_parameter: seconds of a normal random number and of the optimiser, for each parameter.
        s_per_coupling: fixed seconds for each pass through a coupling: Python and kernel launches.
        metric_ratio: seconds of metrics of images, relative to ``metric_cost.COSTS``.
        start_s: seconds until a worker has imported torch and can begin.
        run_s: seconds of a run beside its steps and evaluations: loading, publishing, the supervisor's polls.
        busy_ratio: seconds of a step while every core has one, relative to a step alone.
        backward: passes that a backward pass costs; half of it where only inputs get a gradient.
        penalty: passes of the discriminator that a penalty on its input's gradient costs.
        prediction: passes of both players that predicting the critical step costs.
        base_gb: torch itself.
        bytes_bf16, bytes_fp32: kept for the backward pass, for each feature-map value of a flow.
        bytes_scored: of each feature-map value of the images that are scored at once, which keep nothing.
        num_scored: how many those are (``metrics.exact.BATCH``).
        bytes_disc: kept of each value of the discriminator's maps, at true and generated images.
    """

    gflops_bf16: float = 240.0
    gflops_fp32: float = 120.0
    ns_per_activation: float = 1.5
    s_per_parameter: float = 2e-8
    s_per_coupling: float = 0.0009
    metric_ratio: float = 1.0
    start_s: float = 3.0
    run_s: float = 0.7
    busy_ratio: float = 1.0
    backward: float = 2.0
    penalty: float = 8.0
    prediction: float = 660.0
    base_gb: float = 0.42
    bytes_bf16: float = 4.0
    bytes_fp32: float = 5.6
    bytes_scored: float = 0.5
    num_scored: int = 500
    bytes_disc: float = 47.0


SHIPPED = Calibration()
VARIABLE = "NLLGEN_CALIBRATION"  # off: as shipped
_KERNEL_FLAGS = ("avx", "amx", "fma", "asimd", "sve")
_Positive = Annotated[float, Field(gt=0, lt=1e6, allow_inf_nan=False)]


class Measured(TypedDict):
    """The values of a calibration that are measured."""

    gflops_bf16: _Positive
    gflops_fp32: _Positive
    ns_per_activation: _Positive
    s_per_coupling: _Positive
    metric_ratio: _Positive
    start_s: _Positive
    busy_ratio: _Positive


_MEASURED = TypeAdapter(Measured)


@dataclass(frozen=True)
class Machine:
    """The properties of a machine that decide the speed of a run.

    Attributes:
        processor: model and instructions that torch chooses its kernels by.
        cores: that this process may use.
        torch: its version; empty where it is not installed.
    """

    processor: str
    cores: int
    torch: str

    @property
    def key(self) -> str:
        """Return a digest of this machine, 16 hexadecimal digits."""
        return hashlib.sha256(json.dumps([_VERSION, *vars(self).values()]).encode()).hexdigest()[:16]


class Source(StrEnum):
    """Sources of a calibration."""

    MEASURED = "measured"
    SHIPPED = "shipped"


@dataclass(frozen=True)
class KnownCalibration:
    """A calibration and where it is from.

    Attributes:
        values: the calibration.
        source: measured on this machine, or as shipped.
        reason: why it is as shipped; empty where it was measured.
        machine: this one.
        was_busy: it was measured beside other programs, which make it a quarter too slow.
    """

    values: Calibration = SHIPPED
    source: Source = Source.SHIPPED
    reason: str = "not asked for"
    machine: Machine | None = None
    was_busy: bool = False

    @property
    def note(self) -> str:
        """Return by what a plan's times are estimated, for people."""
        if self.source is Source.MEASURED and self.machine:
            note = f"times are estimated by a measurement of this machine ({self.machine.cores} cores)"
            return f"{note} while other programs ran, which is kept for an hour" if self.was_busy else note
        return f"times are estimated for one core of an AMD EPYC with AVX-512, since {self.reason}"

    def to_json(self) -> dict[str, Any]:
        """Return plain values, for ``plan --json``."""
        machine = asdict(self.machine) if self.machine else {}
        return {"source": str(self.source), "reason": self.reason, **machine, "values": asdict(self.values)}


AS_SHIPPED = KnownCalibration()


def this_machine() -> Machine:
    """Return this machine, without importing torch."""
    try:
        torch = version("torch")
    except PackageNotFoundError:
        torch = ""
    return Machine(_processor(), num_cores(), torch)


def _processor() -> str:
    """Return the processor's model and those of its instructions that torch and oneDNN choose kernels by."""
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    model = re.search(r"^model name\s*:\s*(.*)$", cpuinfo, re.MULTILINE)
    flags = re.search(r"^flags\s*:(.*)$", cpuinfo, re.MULTILINE)
    wide = [flag for flag in (flags[1].split() if flags else []) if flag.startswith(_KERNEL_FLAGS)]
    return " ".join([model[1].strip() if model else platform.machine(), *sorted(wide)])


def calibration_file(machine: Machine) -> Path:
    """Return the file of a machine's calibration, in the user's directory of caches."""
    return user_directory("CACHE") / "calibration" / f"{machine.key}.json"


def read_calibration(machine: Machine) -> KnownCalibration | None:
    """Return the calibration that was measured on a machine; None where it cannot be read or is too old."""
    path = calibration_file(machine)
    try:
        content = json.loads(read_regular(path, _MAX_BYTES))
        values = replace(SHIPPED, **_MEASURED.validate_python(content["measured"]))
        was_busy = bool(content.get("was_busy"))
        is_old = time.time() - path.stat().st_mtime > _BUSY_KEPT_S
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return None if was_busy and is_old else KnownCalibration(values, Source.MEASURED, "", machine, was_busy)


def write_calibration(machine: Machine, measured: Measured, *, was_busy: bool) -> KnownCalibration:
    """Keep what was measured on a machine; where nothing can be written, it is measured again.

    Raises:
        ValueError: a value is no positive number.
    """
    checked = _MEASURED.validate_python(measured)
    path = calibration_file(machine)
    with contextlib.suppress(MachineError, OSError):
        make_folder(path.parent)
        content = {**asdict(machine), "was_busy": was_busy, "measured": checked}
        write_bytes(path, (json.dumps(content, indent=1) + "\n").encode())
    return KnownCalibration(replace(SHIPPED, **checked), Source.MEASURED, "", machine, was_busy)


def known_calibration() -> KnownCalibration:
    """Return this machine's calibration if it was measured before; nothing is measured."""
    machine = this_machine()
    if os.environ.get(VARIABLE) == "off":
        return KnownCalibration(reason=f"{VARIABLE} is off", machine=machine)
    return read_calibration(machine) or KnownCalibration(reason="this machine was not measured", machine=machine)
