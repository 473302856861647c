"""Studies whose numbers are closed forms in step, degree and seed."""

from __future__ import annotations

import fcntl
import json
import math
import os
import pickle
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pytest

from nllgen.storage.hdf5_data import Array
from nllgen.storage.schema import CELL_NUMBER_COLUMNS, CELL_TEXT_COLUMNS
from nllgen.storage.study_file import StudyFile, write_study
from nllgen.study.config import (
    Cell,
    DataConfig,
    Degree,
    FlowConfig,
    MetricsConfig,
    NLLConfig,
    NSGANConfig,
    Purpose,
    Study,
)
from nllgen.study.degrees import student
from nllgen.study.tuning import Tuning
from tests.analysis.browser import log_of

if TYPE_CHECKING:
    from nllgen_analysis import ReportPaths
    from selenium.webdriver import Chrome

ENTROPY = -300.0
TRUTH_ID = "truth0123456789a"
TRUTH_FLOW = FlowConfig(shape=(1, 14, 14), width=16)
STEPS = 1000
GRID = np.arange(0, STEPS + 1, 100)
Source = Literal["mnist", "synthetic"]
Start = Literal["random", "truth"]
EXCESS = {"U3": 60.0, "U2": 40.0, "U1": 25.0, "W": 20.0, "W*": 0.0, "O1": 35.0, "O2": 50.0}
MISSING, DIVERGED = 4, (1, 20)  # of the default cells, in the study ``spoilt``
PARAMETERS = {"U3": 280_000, "U2": 9_000, "U1": 39_000, "W": 290_000, "W*": 290_000, "O1": 2_000_000, "O2": 9_000_000}


def kl(cell: Cell, step: npt.ArrayLike) -> Array:
    """The exact KL of a synthetic cell: a decay to the degree's excess plus the seed, or a departure from the truth."""
    step = np.asarray(step, float)
    if cell.start == "truth":
        rate = 0.2 if cell.paradigm.name == "nsgan" else 0.02
        return rate * step * (1 + 0.1 * cell.seed)
    worse = 400.0 if cell.paradigm.name == "nsgan" else 0.0
    return EXCESS.get(cell.degree, 30.0) + cell.seed + worse + 800.0 * np.exp(-step / 120)


def frechet(cell: Cell, step: npt.ArrayLike) -> Array:
    base = 4.0 if cell.paradigm.name == "nsgan" else 9.0
    return base + 0.1 * EXCESS.get(cell.degree, 30.0) + 0.2 * cell.seed + 60.0 * np.exp(-np.asarray(step, float) / 150)


def make_cell(degree: Degree, paradigm: str = "nll", *, seed: int = 0, start: Start = "random", num: Any = 1000,
              source: Source = "synthetic", **settings: Any) -> Cell:  # fmt: skip
    synthetic = source == "synthetic"
    data = DataConfig(source=source, image_size=14, num_train=num if synthetic else "all",
                      truth_id=TRUTH_ID if synthetic else None)  # fmt: skip
    kind = {"nll": NLLConfig, "nsgan": NSGANConfig}[paradigm]
    return Cell(data=data, flow=student(TRUTH_FLOW, degree), paradigm=kind(steps=STEPS, eval_every=100, **settings),
                start="truth" if degree == "W*" else start, seed=seed, degree=degree)  # fmt: skip


def default_cells(seeds: int = 3, degrees: tuple[Degree, ...] = ("U2", "W", "O1")) -> list[Cell]:
    cells = [make_cell(d, p, seed=s) for d in degrees for p in ("nll", "nsgan") for s in range(seeds)]
    cells += [make_cell("W", p, seed=s, start="truth", lr=2e-4) for p in ("nll", "nsgan") for s in range(seeds)]
    return cells + [make_cell("W", p, seed=s, source="mnist") for p in ("nll", "nsgan") for s in range(seeds)]


Override = Callable[[Cell, Array], dict[str, Any]]


def _metrics(cell: Cell, step: Array, split: str, override: Override | None = None) -> dict[str, Array]:
    step = np.asarray(step, float)
    value = kl(cell, step)
    synthetic = cell.data.source == "synthetic"
    nan = np.full(step.shape, np.nan)
    metrics = {
        "train_nll_nats": ENTROPY + value - step / 100,
        f"{split}_nll_nats": ENTROPY + value,
        f"{split}_bits_per_dim": nan if synthetic else 1.5 + value / 196 / math.log(2),
        "overfit_nats": step / 100 if synthetic else nan,
        "kl_nats": value if synthetic else nan,
        "kl_se_nats": nan + 0.5 if synthetic else nan,
        "frechet_lenet": frechet(cell, step),
        "frechet_floor_lenet": np.full(step.shape, 0.7),
    }
    for name, own in (override(cell, step) if override else {}).items():
        metrics[name.replace("val_", f"{split}_")] = np.broadcast_to(np.asarray(own, float), step.shape).copy()
    return metrics


def _stack(rows: list[dict[str, Array]]) -> dict[str, Array]:
    if not rows:
        return {"cell": np.zeros(0, np.int64), "step": np.zeros(0, np.int64)}
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def _eval(index: int, cell: Cell, last: int, override: Override | None) -> list[dict[str, Array]]:
    step = GRID[last >= GRID]
    rows = []
    for weights in ("raw", "ema") if cell.paradigm.ema_decay else ("raw",):
        columns = _metrics(cell, step, "val", override)
        if weights == "ema":
            columns["frechet_lenet"] = columns["frechet_lenet"] - 1.0
        if last < STEPS:  # what a divergence leaves
            columns = {name: np.append(value[:-1], np.nan) for name, value in columns.items()}
        rows.append({"cell": np.full(len(step), index), "step": step, "epoch": step * 128 / 1000.0,
                     "weights": np.full(len(step), weights, object), **columns})  # fmt: skip
    return rows


def _final(index: int, cell: Cell, override: Override | None) -> list[dict[str, Array]]:
    kinds = ["last", "best", *(["ema"] if cell.paradigm.ema_decay else [])]
    best = np.array([STEPS, 600, STEPS][: len(kinds)])
    return [{"cell": np.full(len(kinds), index), "weights": np.array(kinds, object), "step": best,
             **_metrics(cell, best, "test", override)}]  # fmt: skip


def _history(index: int, cell: Cell, last: int) -> list[dict[str, Array]]:
    step = np.arange(0, last, 2)
    adversarial = cell.paradigm.name == "nsgan"
    wave = np.sin(step / 40.0) * step / STEPS
    nan = np.full(len(step), np.nan)
    return [{"cell": np.full(len(step), index), "step": step, "train_nll_nats": nan if adversarial else step * 1.0,
             "loss_disc": 2 * math.log(2) - 0.3 * np.abs(wave) if adversarial else nan,
             "loss_gen": math.log(2) + 0.5 * wave if adversarial else nan}]  # fmt: skip


def _texts(cell: Cell, role: str, outcome: str, host: str) -> dict[str, str]:
    text = {"id": cell.id, "config": cell.model_dump_json(), "role": role, "outcome": outcome}
    if outcome != "missing":
        text |= {"version": "0.1.0", "host": host, "device": "cpu", "torch_version": "2.6.0"}
        text |= {"code_sha256": "c0de", "precision": cell.precision, "truth_sha256": "7a17"}
        text |= {"assets": json.dumps({"lenet": "abc"})}
    return text


def _cell_columns(rows: Sequence[tuple[str, Cell]], outcomes: Sequence[str], host: str) -> dict[str, Any]:
    columns: dict[str, Any] = {key: np.array([""] * len(rows), dtype=object) for key in CELL_TEXT_COLUMNS}
    columns |= {key: np.full(len(rows), np.nan) for key in CELL_NUMBER_COLUMNS}
    for i, ((role, cell), outcome) in enumerate(zip(rows, outcomes, strict=True)):
        if outcome != "missing":
            columns["num_parameters"][i] = PARAMETERS.get(cell.degree, 70_000)
            columns["seconds_per_step"][i] = 0.05
            columns["num_threads"][i] = columns["attempts"][i] = 1
        for key, value in _texts(cell, role, outcome, host).items():
            columns[key][i] = value
    return columns


def build_study(
    cells: Sequence[Cell],
    *,
    name: str = "known",
    missing: tuple[int, ...] = (),
    diverged: tuple[int, ...] = (),
    host: str = "node1",
    truth: bool | Cell = True,
    samples: int = 12,
    override: Override | None = None,
    claims_sha256: str = "",
    purpose: Purpose = "claims",
    tuning: Tuning | None = None,
) -> StudyFile:
    """A study.h5's content; ``missing`` and ``diverged`` are positions in ``cells``.

    ``override`` gives columns of a cell at some steps other values than the closed forms; ``val_…`` is ``test_…`` in
    the final metrics.
    """
    rows = [("cell", cell) for cell in cells]
    if truth:
        rows.append(("truth", truth if isinstance(truth, Cell) else make_cell("W", source="mnist", seed=99)))
    outcome = ["missing" if i in missing else "diverged" if i in diverged else "done" for i in range(len(rows))]
    columns = _cell_columns(rows, outcome, host)
    evals, finals, history, images, owner = [], [], [], [], []
    random = np.random.default_rng(0)
    for i, (_, cell) in enumerate(rows):
        if outcome[i] != "missing":
            last = STEPS if outcome[i] == "done" else 500
            evals += _eval(i, cell, last, override)
            history += _history(i, cell, last)
            if outcome[i] == "done":
                finals += _final(i, cell, override)
            images.append(_blobs(random, samples))
            owner += [i] * samples
    study = Study(
        name=name, purpose=purpose, tuning=tuning, cells=tuple(cells), metrics=MetricsConfig(num_samples=500),
        claims_sha256=claims_sha256,
    ).model_dump(mode="json")  # fmt: skip
    return StudyFile(
        name=name, study=study, cells=columns, eval=_stack(evals), history=_stack(history), final=_stack(finals),
        samples=np.concatenate(images) if images else np.zeros((0, 1, 14, 14), np.float32),
        samples_cell=np.array(owner, dtype=np.int64),
        reference={"mnist": _blobs(random, 12), "truth": _blobs(random, 12)},
        datasets={TRUTH_ID: {"entropy_nats": ENTROPY, "entropy_se_nats": 0.4, "truth_sha256": "7a17"}},
    )  # fmt: skip


def _blobs(random: np.random.Generator, count: int) -> Array:
    y, x = np.mgrid[:14, :14]
    centre = random.uniform(4, 10, (count, 2, 1, 1))
    blobs = np.exp(-((y - centre[:, 0]) ** 2 + (x - centre[:, 1]) ** 2) / 8)
    return np.asarray(blobs, np.float32)[:, None]


@pytest.fixture(scope="session")
def study() -> StudyFile:
    """Three degrees by two paradigms, a Nash start and MNIST, three seeds each, all done."""
    return build_study(default_cells())


@pytest.fixture(scope="session")
def spoilt() -> StudyFile:
    """The same with one missing and two diverged cells."""
    return build_study(default_cells(), missing=(MISSING,), diverged=DIVERGED)


@pytest.fixture(scope="session")
def written(spoilt: StudyFile, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Its report, written once, by two processes, by the first test process that needs it."""
    from nllgen_analysis import write_report  # here, as building a study alone needs no matplotlib

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "report of the spoilt study"
    folder.mkdir(exist_ok=True)
    made = folder / "paths.pickle"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            write_study(folder / "study.h5", spoilt)
            made.write_bytes(pickle.dumps(write_report(folder / "study.h5", folder / "out", processes=2)))
        return pickle.loads(made.read_bytes())


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[StudyFile], Path]:
    """Return a function that writes a study into the test's folder."""

    def save(content: StudyFile) -> Path:
        path = tmp_path / "study.h5"
        write_study(path, content)
        return path

    return save


@pytest.fixture(scope="session")
def driver() -> Iterator[Chrome]:
    """Headless Chromium; without it tests are skipped, or fail if NLLGEN_REQUIRE_BROWSER is 1."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="NOT TESTED: needs selenium (pip install '.[test]')")
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in programs:
        reason = "NOT TESTED: needs chromium and chromedriver (tests/analysis/programs-up installs them on Debian)"
        if os.environ.get("NLLGEN_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    options = webdriver.ChromeOptions()
    options.binary_location = str(programs[0])
    # root has no sandbox; a small /dev/shm is no reason to crash
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,1000"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(programs[1])))
    yield browser
    browser.quit()


@pytest.fixture
def page(driver: Chrome, written: ReportPaths) -> Chrome:
    """The report, loaded again."""
    driver.get("about:blank")
    for kind in ("browser", "performance"):
        log_of(driver, kind)  # reading empties it
    driver.get(written.html.as_uri())
    return driver
