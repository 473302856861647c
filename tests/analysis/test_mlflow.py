"""The script of docs/analyse.md that writes a study into MLflow, against a server of MLflow on this machine.

MLflow is too large for the environment of the tests; where it is not installed these are skipped and say so.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import nllgen_analysis
import numpy as np
import pytest

from nllgen.storage.study_file import write_study
from tests.analysis.conftest import build_study, make_cell
from tests.cli.pages import DOCS, blocks

pytest.importorskip("mlflow", reason="NOT TESTED: needs the package mlflow")
CELLS = [make_cell("W", paradigm, seed=seed) for paradigm in ("nll", "nsgan") for seed in (0, 1)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a server on a free port, and return its address."""
    directory = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        "-m",
        "mlflow",
        "server",
        "--backend-store-uri",
        "sqlite:///runs.db",
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    log = (directory / "log").open("w")
    process = subprocess.Popen(
        [sys.executable, *command], cwd=directory, stdout=log, stderr=log, start_new_session=True
    )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(address)
        yield address
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)
        log.close()


def _wait_for(address: str) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            with opener.open(f"{address}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    pytest.fail("the server did not start")


@pytest.fixture(scope="module")
def written(server: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Run the script on a study and return its runs, by name."""
    import mlflow

    path = tmp_path_factory.mktemp("study") / "study.h5"
    write_study(path, build_study(CELLS, truth=False, samples=0))
    (script,) = blocks(DOCS / "analyse.md", "py")
    env = os.environ | {"MLFLOW_TRACKING_URI": server, "no_proxy": "127.0.0.1"}
    subprocess.run([sys.executable, "-c", script, path], env=env, check=True, timeout=300)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("no_proxy", "127.0.0.1")
        client = mlflow.MlflowClient(server)
        experiment = client.get_experiment_by_name("known")
        runs = {run.data.params["label"]: run for run in client.search_runs([experiment.experiment_id])}
        history = client.get_metric_history(runs[CELLS[3].label].info.run_id, "eval/raw/kl_nats")
    return runs, history, nllgen_analysis.load(path)


def test_a_cell_is_a_run_with_its_configuration(written: Any) -> None:
    runs = written[0]
    assert set(runs) == {cell.label for cell in CELLS}
    assert runs[CELLS[3].label].data.params["paradigm"] == "nsgan"


def test_a_curve_is_that_of_the_study(written: Any) -> None:
    _, history, frames = written
    rows = frames.eval[(frames.eval["cell"] == 3) & (frames.eval["weights"] == "raw")]
    curve = sorted((metric.step, metric.value) for metric in history)
    np.testing.assert_array_equal(np.array(curve), rows[["step", "kl_nats"]].to_numpy(float))
