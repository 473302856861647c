"""The measurement of this machine: by a process with torch, once, and never in a job."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from nllgen.launch import calibrate as module
from nllgen.launch.calibrate import calibrate
from nllgen.planning.calibration import (
    SHIPPED,
    VARIABLE,
    Measured,
    Source,
    calibration_file,
    this_machine,
    write_calibration,
)
from nllgen.planning.fit import cells_to_time
from nllgen.study.run_options import CellTiming, TimingAnswer


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(VARIABLE)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    return tmp_path


@pytest.mark.slow
def test_a_machine_is_measured_once() -> None:
    said: list[str] = []
    first, second = calibrate(said.append), calibrate(said.append)
    assert first == second
    assert first.source is Source.MEASURED
    assert said == ["measuring the speed of this machine, once: about ten seconds"]
    assert 0.02 < first.values.gflops_fp32 / SHIPPED.gflops_fp32 < 50
    assert calibration_file(this_machine()).exists()


def time_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all cells take the same time."""
    answer = TimingAnswer((CellTiming(0.01, 0.001, 0.001),) * len(cells_to_time("fp32")), 1.0, 1e-8)
    monkeypatch.setattr(module, "auto_precision", lambda: "fp32")
    monkeypatch.setattr(module, "time_cells", lambda *_, **__: answer)


@pytest.mark.parametrize(("load", "was_busy"), [(0.4, False), (0.6, True)])
def test_the_load_of_the_machine_is_kept_with_its_speed(
    load: float, was_busy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    time_nothing(monkeypatch)
    monkeypatch.setattr(os, "getloadavg", lambda: (load * (os.cpu_count() or 1), 0.0, 0.0))
    assert calibrate(lambda _: None).was_busy == calibrate(pytest.fail).was_busy == was_busy


def test_a_cache_that_cannot_be_written_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache / "nllgen").write_text("a file")
    time_nothing(monkeypatch)
    said: list[str] = []
    assert calibrate(said.append).source is Source.MEASURED
    assert "so that the next plan measures again" in said[-1]


def test_gpus_are_hidden_from_the_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = tmp_path / "told"
    (tmp_path / "python").write_text(f'#!/bin/sh\nprintf "<%s>" "$CUDA_VISIBLE_DEVICES" > {told}\n')
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    calibrate(lambda _: None)
    assert told.read_text() == "<>"


def test_another_process_that_measured_meanwhile_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "time_cells", lambda *_, **__: pytest.fail("measured twice"))

    def meanwhile(_: str) -> None:
        measured = Measured(**{key: getattr(SHIPPED, key) for key in Measured.__annotations__})  # type: ignore[typeddict-item]  # keys of variables
        write_calibration(this_machine(), measured, was_busy=False)

    assert calibrate(meanwhile).source is Source.MEASURED


def test_a_job_measures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    known = calibrate(pytest.fail)
    assert (known.source, known.reason) == (Source.SHIPPED, "a job does not measure its machine")


def test_a_machine_without_torch_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "has_torch", lambda: False)
    known = calibrate(pytest.fail)
    assert (known.source, known.reason) == (Source.SHIPPED, "torch is not installed here")
    assert "since torch is not installed here" in known.note


def test_a_user_can_turn_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "off")
    assert calibrate(pytest.fail).source is Source.SHIPPED


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import sys; sys.exit('no memory')", "no memory"),
        ("print('nonsense')", "TimingAnswer"),
        ("", "TimingAnswer"),
    ],
    ids=["fails", "says nonsense", "says nothing"],
)
def test_a_measurement_that_fails_leaves_the_shipped_values(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str, reason: str
) -> None:
    (tmp_path / "python").write_text(f"#!{sys.executable}\n{program}\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    said: list[str] = []
    known = calibrate(said.append)
    assert (known.source, known.values) == (Source.SHIPPED, SHIPPED)
    assert reason in known.reason
