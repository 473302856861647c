"""A worker whose cells only sleep: the rest of a study's time is the launcher's."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from nllgen.launch.stop_signal import StopRequest
from nllgen.storage.result import Result, write_result
from nllgen.storage.schema import EVAL_COLUMNS, FINAL_COLUMNS, HISTORY_COLUMNS
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tables import make_table
from nllgen.study.config import Cell
from nllgen.study.run_options import TaskOrder
from nllgen.worker.loop import serve

CELL_S = 1.0


def small_result(cell: Cell) -> Result:
    """Return a valid result as small as that of a short run."""
    attrs = {
        "cell_id": cell.id, "cell": cell.model_dump_json(), "study": "many", "outcome": "done", "version": "1",
        "code_sha256": "0" * 64, "container_sha256": "", "started_at": "2026-01-01T00:00:00+00:00",
        "finished_at": "2026-01-01T01:00:00+00:00", "host": "here", "device": "cpu", "num_threads": 1, "num_cpus": 1,
        "num_parameters": 472, "seconds_per_step": 0.1, "attempts": 1, "assets": "{}", "torch_version": "2",
        "precision": "fp32", "truth_sha256": "", "model_sha256": "0" * 64, "dead_step": float("nan"),
    }  # fmt: skip
    history = make_table([{"step": step, "train_nll_nats": 9.0} for step in range(0, 101, 10)], HISTORY_COLUMNS)
    measured = {name: 7.0 for name in FINAL_COLUMNS if "inception" not in name}  # as in most studies
    evals = make_table([{**measured, "step": step, "epoch": 1.0, "weights": "raw"} for step in (0, 100)], EVAL_COLUMNS)
    final = make_table([{**measured, "step": 100, "weights": weights} for weights in ("last", "best")], FINAL_COLUMNS)
    return Result(attrs=attrs, history=history, eval=evals, final=final, samples=np.zeros((1, 1, 28, 28), np.float32))


def main() -> None:
    """Serve orders like ``nllgen worker STUDY_DIR …``; all other arguments are ignored."""
    study_dir = StudyDir(Path(sys.argv[2]))
    cells = {cell.id: cell for cell in study_dir.read_study().cells}

    def run(order: TaskOrder) -> None:
        time.sleep(CELL_S)
        task_dir, result = study_dir.cell(order.task), small_result(cells[order.task])
        weights = task_dir.model(result.attrs["model_sha256"])
        write_result(task_dir.result, result, order.attempt, weights.touch)

    sys.exit(serve(StopRequest(watch_stdin=True).orders(), run))


if __name__ == "__main__":
    main()
