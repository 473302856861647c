"""The GPUs that a local run divides among its workers; no GPU is needed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from nllgen.errors import MachineError
from nllgen.launch import gpus, local
from nllgen.launch.gpus import assign_gpus
from nllgen.launch.supervisor import Supervisor
from nllgen.launch.worker_process import WorkerConfig
from nllgen.storage.study_dir import StudyDir
from nllgen.study.run_options import RunOptions


@pytest.fixture(autouse=True)
def three_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "_num_device_files", lambda: 3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize(
    ("named", "device", "shared"),
    [
        (None, "auto", ((0, 1, 2), "auto")),
        (None, "cuda", ((0, 1, 2), "cuda")),
        (None, "cpu", ((), "cpu")),
        (None, "cuda:1", ((1,), "cuda")),  # the only one that the worker sees, whatever its number here
        ("5,7", "cuda:1", ((7,), "cuda")),
        ("5, 7,", "auto", ((5, 7), "auto")),
        ("", "auto", ((), "auto")),
        ("-1", "auto", ((), "auto")),
        ("2,-1,1", "cuda", ((2,), "cuda")),
        ("NoDevFiles", "auto", ((), "auto")),
        ("GPU-8a5c", "cpu", ((), "cpu")),
        ("GPU-8a5c,MIG-1c-4", "auto", (("GPU-8a5c", "MIG-1c-4"), "auto")),
        ("0,GPU-8a5c", "cuda:1", (("GPU-8a5c",), "cuda")),
        ("MIG-GPU-8a5c/1/0,-1,2", "cuda", (("MIG-GPU-8a5c/1/0",), "cuda")),
    ],
)
def test_workers_share_the_gpus_that_this_process_may_use(
    monkeypatch: pytest.MonkeyPatch, named: str | None, device: str, shared: tuple[tuple[int | str, ...], str]
) -> None:
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert assign_gpus(device) == shared


@pytest.mark.parametrize(
    ("named", "device", "words"),
    [
        (None, "cuda:3", "no cuda:3 here: 3 GPUs"),
        ("7", "cuda:7", "no cuda:7 here: 1 GPU to be had"),
        ("", "cuda", "no cuda here: 0 GPUs(.|\n)*use auto or cpu"),
    ],
)
def test_a_gpu_that_is_not_there_is_refused_with_their_number(
    monkeypatch: pytest.MonkeyPatch, named: str | None, device: str, words: str
) -> None:
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    with pytest.raises(MachineError, match=words):
        assign_gpus(device)


@pytest.mark.parametrize("named", ["8a5c", "0,8a5c", "GPU-", "MIG-$(x)", "²"])
@pytest.mark.parametrize("device", ["auto", "cuda", "cuda:0"])
def test_gpus_without_numbers_or_uuids_are_refused(monkeypatch: pytest.MonkeyPatch, named: str, device: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    with pytest.raises(MachineError, match="by their numbers"):
        assign_gpus(device)


def test_each_worker_is_told_of_the_gpu_that_it_sees(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told: list[object] = []

    class Executor:
        def __init__(self, folder: Path) -> None:
            pass

        def update_parameters(self, **parameters: object) -> None:
            told.append((parameters["gpus_per_node"], parameters["visible_gpus"]))

        def submit(self, supervisor: Supervisor) -> None:
            told.append((supervisor.gpus, supervisor.worker_config.options.device))

    monkeypatch.setattr(local, "submitit", SimpleNamespace(LocalExecutor=Executor))
    local.start_local(StudyDir(tmp_path), WorkerConfig(RunOptions(tmp_path, "cuda:1")), 2)
    assert told == [(1, (1,)), ((), "cuda")] * 2
    told.clear()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
    local.start_local(StudyDir(tmp_path), WorkerConfig(RunOptions(tmp_path, "cuda")), 2)
    assert told == [(0, ()), (("GPU-a",), "cuda"), (0, ()), (("GPU-b",), "cuda")]
