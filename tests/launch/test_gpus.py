"""The GPUs that runs divide among their workers; devices are stand-ins."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from nllgen.errors import MachineError
from nllgen.launch import gpus, local
from nllgen.launch.freeze import freeze
from nllgen.launch.gpus import assign_gpus, mps_pipes
from nllgen.launch.slurm.job_env import Job, MemoryKills
from nllgen.launch.supervisor import Supervisor
from nllgen.launch.worker_process import WorkerConfig
from nllgen.storage.study_dir import StudyDir
from nllgen.study.load import parse_study
from nllgen.study.run_options import RunOptions

CHECKOUT = Path(__file__).parents[2]


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


GRID = """
name: packed
metrics: {{every: [], final: [], frechet: []}}
cells:
  - data: {{source: mnist, image_size: 7}}
    flow: {{width: 2, blocks: 0, scales: 1}}
    paradigm: {{name: nll, steps: 10}}
    seed: {{range: [0, {}]}}
"""
REPORTING = """
import os, pathlib, sys, time
path = pathlib.Path(sys.argv[2]) / "gpus"
with open(path, "a") as file:
    file.write(os.environ.get("CUDA_VISIBLE_DEVICES", "") + "\\n")
while path.read_text().count("\\n") < int(os.environ["NUM_WORKERS"]):  # none takes a second cell before all have begun
    time.sleep(0.1)
from benchmarks.dummy_worker import main
main()
"""


def run_workers(root: Path, monkeypatch: pytest.MonkeyPatch, device: str, num_workers: int) -> list[str]:
    """Run cells that only sleep; return what each worker's process has in CUDA_VISIBLE_DEVICES."""
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    monkeypatch.setenv("NUM_WORKERS", str(num_workers))
    study_dir, _, _ = freeze(parse_study(GRID.format(num_workers), "packed.yaml", precision="fp32"), root)
    config = WorkerConfig(RunOptions(root, device), program=(sys.executable, "-c", REPORTING))
    jobs = local.start_local(study_dir, config, num_workers)
    for job in jobs:
        job.result()
        job._process.wait()
    return sorted((study_dir.path / "gpus").read_text().split("\n")[:-1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("named", "device", "seen"),
    [
        (None, "cuda:1", ["1", "1"]),
        ("5,7", "cuda", ["5", "5", "7", "7"]),
        ("GPU-a,MIG-b", "auto", ["GPU-a", "GPU-a", "MIG-b", "MIG-b"]),
        (None, "cpu", ["", ""]),
    ],
)
def test_each_process_of_a_pack_sees_its_gpu_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str | None, device: str, seen: list[str]
) -> None:
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert run_workers(tmp_path, monkeypatch, device, len(seen)) == seen


@pytest.mark.parametrize(
    ("at_once", "gpus", "of_slots"),
    [
        (1, (0, 1), [(0, 1)]),
        (4, (3,), [(3,)] * 4),
        (4, (0, 1), [(0,), (1,), (0,), (1,)]),
        (3, ("MIG-a", "MIG-b"), [("MIG-a",), ("MIG-b",), ("MIG-a",)]),
        (2, (), [(), ()]),
    ],
)
def test_the_cells_of_a_job_share_its_gpus_in_turn(
    tmp_path: Path, at_once: int, gpus: tuple[int | str, ...], of_slots: list[tuple[int | str, ...]]
) -> None:
    supervisor = Supervisor(tmp_path, "s", WorkerConfig(RunOptions(tmp_path)), at_once=at_once)
    job = Job("7_0", 0, 0, math.inf, cpus=4, affinity=(), gpus=gpus)
    slots = [supervisor._worker_slot(number, job, StudyDir(tmp_path), MemoryKills()) for number in range(at_once)]
    assert [tuple(slot.gpus) for slot in slots] == of_slots


def test_the_pipes_of_the_multi_process_service_are_those_that_are_named(tmp_path: Path) -> None:
    assert mps_pipes({"CUDA_MPS_PIPE_DIRECTORY": str(tmp_path)}) == tmp_path
    assert mps_pipes({"CUDA_MPS_PIPE_DIRECTORY": str(tmp_path / "gone")}) is None
    assert mps_pipes({"CUDA_MPS_PIPE_DIRECTORY": ""}) is None
    assert mps_pipes({}) is None
