"""Command lines of workers, and the record of their configuration."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from nllgen.container import Bind
from nllgen.errors import NllgenError
from nllgen.launch import worker_process
from nllgen.launch.worker_process import WorkerConfig
from nllgen.study.hardware import THREAD_VARIABLES
from nllgen.study.run_options import RunOptions

OPTIONS = RunOptions(Path("/assets"), "cpu", code_sha256="1" * 64)
CONFIG = WorkerConfig(
    OPTIONS, Path("/code"), Path("/image.sif"), ("/a:/b",), (("NAME", "value"),), "/scratch/$USER", ("sleep", "1")
)


def test_a_record_gives_the_configuration_back_without_its_program() -> None:
    record = json.loads(json.dumps(CONFIG.to_record()))
    assert WorkerConfig.from_record(record) == dataclasses.replace(CONFIG, program=())


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"colour": 1}, "colour"),
        ({"options": {}}, "options.assets"),
        ({"binds": 3}, "binds"),
        ({"options": {"assets": "a", "device": "gpu"}}, "options.device"),
    ],
)
def test_a_damaged_record_is_refused(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(NllgenError, match=f"record of the submission is damaged or of another version: {key}: "):
        WorkerConfig.from_record(CONFIG.to_record() | changes)


def test_a_worker_on_the_host_runs_the_copy_of_the_package() -> None:
    words, variables = WorkerConfig(OPTIONS, Path("/code")).command(Path("/runs/tiny"), 3, (1, 2))
    assert words[:5] == [sys.executable, "-m", "nllgen", "worker", "/runs/tiny"]
    assert RunOptions.from_json(words[-1]) == dataclasses.replace(OPTIONS, threads=3)
    assert variables["PYTHONPATH"].startswith("/code")
    assert (variables["OMP_NUM_THREADS"], variables["CUDA_VISIBLE_DEVICES"]) == ("3", "1,2")


def test_a_worker_in_a_container_runs_the_package_of_the_container(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: dict[str, Any] = {}

    def exec_command(container: object, words: list[str], **options: Any) -> tuple[list[str], dict[str, str]]:
        calls.update(options, words=words)
        return [], {}

    monkeypatch.setattr(worker_process, "verify_container", lambda path: path)
    monkeypatch.setattr(worker_process, "exec_command", exec_command)
    monkeypatch.setenv("USER", "me")
    CONFIG.command(Path("/runs/tiny"), 1, ())
    assert RunOptions.from_json(calls["words"][-1]).code_sha256 == ""
    assert calls["environment"] == dict.fromkeys(THREAD_VARIABLES, "1") | {
        "NAME": "value",
        "TMPDIR": "/scratch/me",
    }
    assert Bind(Path("/runs/tiny"), writable=True) in calls["binds"]
    assert Bind(Path("/a"), "/b") in calls["binds"]


@pytest.mark.parametrize(("gpus", "is_bound"), [((0,), True), ((), False)])
def test_the_pipes_of_the_multi_process_service_are_bound_for_workers_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gpus: tuple[int, ...], is_bound: bool
) -> None:
    calls: dict[str, Any] = {}
    monkeypatch.setattr(worker_process, "verify_container", lambda path: path)
    monkeypatch.setattr(
        worker_process, "exec_command", lambda container, words, **options: calls.update(options) or ([], {})
    )
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    CONFIG.command(Path("/runs/tiny"), 1, gpus)
    assert calls["gpus"] == is_bound
    assert (Bind(tmp_path, writable=True) in calls["binds"]) == is_bound
    assert ("CUDA_MPS_PIPE_DIRECTORY" in calls["environment"]) == is_bound
