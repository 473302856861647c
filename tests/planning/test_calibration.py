"""The calibration of a machine: kept for the user, fitted to timings, and harmless where it cannot be read or kept."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from nllgen.planning.calibration import (
    SHIPPED,
    VARIABLE,
    Calibration,
    Machine,
    Measured,
    Source,
    calibration_file,
    known_calibration,
    read_calibration,
    this_machine,
    write_calibration,
)
from nllgen.planning.cost import pass_seconds
from nllgen.planning.fit import cells_to_time, fit
from nllgen.study.config import Cell
from nllgen.study.run_options import CellTiming, TimingAnswer

MACHINE = Machine("AMD EPYC avx2 fma", 2, "2.13.0")
MEASURED = Measured(
    gflops_bf16=100.0, gflops_fp32=60.0, ns_per_activation=2.0, s_per_coupling=0.0005, metric_ratio=0.9, start_s=2.5,
    busy_ratio=1.3,
)  # fmt: skip
ONE_CORE = replace(SHIPPED, **MEASURED)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(VARIABLE)
    return tmp_path


def test_what_was_measured_is_kept_for_this_machine() -> None:
    write_calibration(this_machine(), MEASURED, was_busy=False)
    known = known_calibration()
    assert (known.source, known.values) == (Source.MEASURED, ONE_CORE)


@pytest.mark.parametrize(
    "other", [replace(MACHINE, cores=4), replace(MACHINE, torch="2.14.0"), replace(MACHINE, processor="Intel avx2")]
)
def test_another_machine_has_another_calibration(other: Machine) -> None:
    write_calibration(MACHINE, MEASURED, was_busy=False)
    assert read_calibration(other) is None


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00\xff", b"[]", b"{}", b'{"measured": {}}', b'{"measured": 3}', b"[" * 100_000, b"x" * 2_000_000],
)
def test_a_file_that_is_no_calibration_is_none(content: bytes) -> None:
    path = calibration_file(MACHINE)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert read_calibration(MACHINE) is None


@pytest.mark.parametrize("value", [0, -1, "fast", None, float("nan"), float("inf"), 1e300])
def test_a_value_that_is_no_speed_is_none(value: object) -> None:
    write_calibration(MACHINE, MEASURED, was_busy=False)
    path = calibration_file(MACHINE)
    content = json.loads(path.read_text())
    content["measured"]["gflops_fp32"] = value
    path.write_text(json.dumps(content))
    assert read_calibration(MACHINE) is None


def test_a_measurement_beside_other_programs_is_kept_for_an_hour_and_says_so() -> None:
    write_calibration(this_machine(), MEASURED, was_busy=True)
    known = known_calibration()
    assert (known.values, known.was_busy) == (ONE_CORE, True)
    assert "while other programs ran" in known.note
    hour_ago = time.time() - 3601
    os.utime(calibration_file(this_machine()), (hour_ago, hour_ago))
    assert known_calibration().source is Source.SHIPPED


def test_a_measurement_of_an_idle_machine_is_kept_for_good() -> None:
    write_calibration(this_machine(), MEASURED, was_busy=False)
    os.utime(calibration_file(this_machine()), (0, 0))
    known = known_calibration()
    assert (known.source, known.was_busy) == (Source.MEASURED, False)
    assert "other programs" not in known.note


def test_a_cache_that_cannot_be_written_is_harmless(cache: Path) -> None:
    (cache / "nllgen").write_text("a file")
    assert write_calibration(MACHINE, MEASURED, was_busy=False).values == ONE_CORE
    assert read_calibration(MACHINE) is None


def test_a_user_can_keep_the_shipped_values(monkeypatch: pytest.MonkeyPatch) -> None:
    write_calibration(this_machine(), MEASURED, was_busy=False)
    monkeypatch.setenv(VARIABLE, "off")
    known = known_calibration()
    assert (known.source, known.values, known.reason) == (Source.SHIPPED, SHIPPED, f"{VARIABLE} is off")


def timing(cell: Cell, calibration: Calibration) -> CellTiming:
    """Return the timing of a cell on a machine that the model of costs describes."""
    batch = cell.paradigm.batch_size
    step = (1 + SHIPPED.backward) * pass_seconds(cell.real_nvp, batch, cell.precision, batch, calibration)
    if cell.precision != "fp32":
        return CellTiming(step)
    one = pass_seconds(cell.real_nvp, 250, "fp32", 250, calibration) / 250
    return CellTiming(step, one, one)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_fit_recovers_the_speed_of_a_machine(precision: str) -> None:
    cells = cells_to_time("bf16" if precision == "bf16" else "fp32")
    answer = TimingAnswer(tuple(timing(cell, ONE_CORE) for cell in cells), 2.5, 0.9 * 12e-9, 1.3)
    expected = dict(MEASURED) | ({} if precision == "bf16" else {"gflops_bf16": MEASURED["gflops_fp32"]})
    assert fit(cells, answer) == pytest.approx(expected, rel=1e-6)


def test_a_machine_that_the_model_does_not_describe_gets_positive_values() -> None:
    """All steps take the same time, whatever their size."""
    cells = cells_to_time("fp32")
    answer = TimingAnswer(tuple(CellTiming(0.01, 0.01, 0.01) for _ in cells), 1.0, 1e-9, 1.0)
    fitted = replace(SHIPPED, **fit(cells, answer))
    assert min(fitted.gflops_fp32, fitted.ns_per_activation, fitted.s_per_coupling) > 0
