"""Results whose every number is known, small disks, and files that were tampered with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from nllgen.storage.checksum import SIZE, checksum_header, verify_checksum
from nllgen.storage.dataset import NUMBERS, Dataset, write_dataset
from nllgen.storage.result import Result, write_result
from nllgen.storage.schema import EVAL_COLUMNS, FINAL_COLUMNS, HISTORY_COLUMNS
from nllgen.storage.study_dir import StudyDir, TaskDir
from nllgen.storage.tables import make_table
from nllgen.storage.weights import weights_digest
from nllgen.study import pretrained
from nllgen.study.config import Cell, DataConfig, DatasetConfig, FlowConfig, NLLConfig, Study

TRUTHS = Path(pretrained.__file__).with_name("truths")
WEIGHTS, OTHER_WEIGHTS = (TRUTHS / name / "truth.pt" for name in ("known-mnist-14", "known-mnist"))

MakeCell = Callable[..., Cell]
MakeResult = Callable[..., Result]


@pytest.fixture
def make_cell() -> MakeCell:
    def make(seed: int = 0, **rest: Any) -> Cell:
        flow = FlowConfig(shape=(1, 7, 7), width=2, blocks=0, scales=1)
        data = rest.pop("data", DataConfig(image_size=7, num_val=20, num_test=20))
        return Cell(data=data, flow=flow, paradigm=NLLConfig(steps=100, eval_every=50), seed=seed, **rest)

    return make


@pytest.fixture
def make_study(make_cell: MakeCell) -> Callable[..., Study]:
    """A truth and cells on its data."""

    def make(num_cells: int = 3, **rest: Any) -> Study:
        truth = make_cell()
        data = DataConfig(source="synthetic", image_size=7, num_train=10, num_val=20, num_test=20, truth_id=truth.id)
        cells = tuple(make_cell(seed, data=data, degree="W") for seed in range(num_cells))
        sizes = DatasetConfig(num_train=max(20, 10 * num_cells), num_val=20, num_test=20)
        return Study(name="small", truth=truth, cells=cells, **{"dataset": sizes} | rest)

    return make


@pytest.fixture
def make_result(make_cell: MakeCell) -> MakeResult:
    def make(cell: Cell | None = None, outcome: str = "done", num_samples: int = 2, **attrs: Any) -> Result:
        cell = cell or make_cell()
        steps = range(0, 101)
        history = [{"step": i, "train_nll_nats": 9.0 - i, "lr": 0.5, "time_s": 0.1 * i} for i in steps]
        evals = [
            {"step": i, "epoch": i / 10, "weights": "raw", "val_nll_nats": 8.0 - i, "time_s": 1.0} for i in (0, 50)
        ]
        final = [{"step": 100, "weights": name, "test_nll_nats": 7.0, "time_s": 2.0} for name in ("last", "best")]
        known = {
            "cell_id": cell.id, "cell": cell.model_dump_json(), "study": "small", "outcome": outcome, "version": "1",
            "code_sha256": "c" * 64, "container_sha256": "", "started_at": "2026-01-01T00:00:00+00:00",
            "finished_at": "2026-01-01T01:00:00+00:00", "host": "here", "device": "cpu",
            "num_threads": 1, "num_cpus": 2,
            "num_parameters": 472, "seconds_per_step": 0.1, "attempts": 1, "assets": "{}", "torch_version": "2",
            "precision": "fp32", "truth_sha256": "", "model_sha256": "d" * 64, "dead_step": float("nan"),
        }  # fmt: skip
        return Result(
            attrs=known | attrs,
            history=make_table(history, HISTORY_COLUMNS),
            eval=make_table(evals, EVAL_COLUMNS),
            final=make_table(final, FINAL_COLUMNS),
            samples=np.linspace(0, 1, 49 * num_samples, dtype=np.float32).reshape(num_samples, 1, 7, 7),
        )

    return make


def write(task_dir: TaskDir, result: Result) -> None:
    """Publish a result as a run does, beside a file in place of its weights."""
    task_dir.path.mkdir(parents=True, exist_ok=True)
    assert write_result(task_dir.result, result, "a", task_dir.model(result.attrs["model_sha256"]).touch)


def truth_id(study: Study) -> str:
    assert study.truth is not None
    return study.truth.id


def draw(study_dir: StudyDir, study: Study, truth_sha256: str, num_train: int | None = None) -> None:
    """Write a data set of the sizes that the study wants, or with fewer training images."""
    assert study.truth is not None
    wanted = study.dataset
    sizes = {"train": num_train or wanted.num_train, "val": wanted.num_val, "test": wanted.num_test}
    images = {split: np.zeros((size, 1, 7, 7), np.float32) for split, size in sizes.items()}
    densities = {split: np.zeros(size) for split, size in sizes.items()}
    task_dir = study_dir.truth(study.truth.id)
    task_dir.path.mkdir(parents=True, exist_ok=True)
    numbers = dict.fromkeys(NUMBERS, 0.5)
    write_dataset(task_dir.dataset, Dataset(study.truth.id, truth_sha256, images, densities, numbers))


def finish_truth(study_dir: StudyDir, study: Study, make_result: MakeResult) -> str:
    """Leave what the training of a truth leaves, and its data set; return the digest of its weights."""
    assert study.truth is not None
    task_dir = study_dir.truth(study.truth.id)
    write(task_dir, make_result(study.truth))
    task_dir.weights.write_bytes(WEIGHTS.read_bytes())
    draw(study_dir, study, weights_digest(WEIGHTS))
    return weights_digest(WEIGHTS)


@pytest.fixture
def result(make_result: MakeResult) -> Result:
    return make_result()


@pytest.fixture
def written(tmp_path: Path, result: Result) -> Path:
    """A valid result.h5."""
    path = tmp_path / "result.h5"
    assert write_result(path, result, "a", lambda: None)
    return path


@pytest.fixture
def tamper() -> Callable[[Path, Callable[[h5py.File], None]], None]:
    """Change a file by hand and give it its checksum again: what is left to find is up to the reader."""

    def change(path: Path, edit: Callable[[h5py.File], None]) -> None:
        head = verify_checksum(path).head
        with h5py.File(path, "r+") as file:
            edit(file)
        content = path.read_bytes()[SIZE:]
        path.write_bytes(bytes(checksum_header(content, head)) + content)

    return change


@pytest.fixture
def units_in() -> Callable[[Path], dict[str, Any]]:
    """Every dataset in a file with its unit, None where it has none."""

    def walk(path: Path) -> dict[str, Any]:
        units = {}

        def query(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Dataset):
                units[name] = item.attrs.get("unit")

        with h5py.File(path) as file:
            file.visititems(query)
        return units

    return walk
