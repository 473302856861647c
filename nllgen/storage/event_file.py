"""Event files, which TensorBoard reads while they grow. One directory of them is one run."""

from __future__ import annotations

import math
import platform
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nllgen.errors import MachineError
from nllgen.storage.atomic import make_folder
from nllgen.storage.hdf5_data import Array
from nllgen.storage.schema import EVAL_COLUMNS, FINAL_COLUMNS, HISTORY_COLUMNS
from nllgen.study.config import Cell

if TYPE_CHECKING:
    from tensorboardX.proto.event_pb2 import Event

EXTRA = "tensorboard"  # of the package, with what writes event files
_KEYS = ("step", "weights", "time_s", "epoch")  # columns that say where a row belongs
_HISTORY = [name for name in HISTORY_COLUMNS if name not in _KEYS]
_EVAL = [name for name in EVAL_COLUMNS if name not in _KEYS]
_FINAL = [name for name in FINAL_COLUMNS if name not in _KEYS]

Row = Mapping[str, Any]


def run_name(cell: Cell, role: str) -> str:
    """Return the name of a run's directory, which TensorBoard shows: the cell in words and its id."""
    words = f"truth {cell.id}" if role == "truth" else f"{cell.label} {cell.id}"
    return re.sub(r"[^\w.-]+", "-", words)


class EventFile:
    """A new event file of a run.

    Args:
        directory: of the run; earlier files in it stay, and TensorBoard forgets what they hold.
        name: tells this file from others of the same second, such as an attempt's name.

    Raises:
        MachineError: the package that writes event files is missing, or the directory cannot be made.
        OSError: the file cannot be written.
    """

    def __init__(self, directory: Path, name: str = ""):
        try:
            from tensorboardX.proto import event_pb2, summary_pb2  # it imports torch where that is installed
            from tensorboardX.record_writer import RecordWriter
        except ImportError as error:
            raise MachineError(
                f"event files cannot be written: {error.name or error} is not installed",
                f"pip install 'nllgen[{EXTRA}]'",
            ) from error
        self._events, self._summaries = event_pb2, summary_pb2
        make_folder(directory)
        now = time.time()
        parts = ("events.out.tfevents", str(int(now)), platform.node(), name)  # read in the order of these names
        self._records = RecordWriter(str(directory / ".".join(filter(None, parts))))
        self._write(0, now, file_version="brain.Event:2")
        # a reader drops all points of earlier files of the run from this step on
        self._write(0, now, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START))

    def add_history(self, row: Row, wall_time: float) -> None:
        """Add a logged step."""
        self._add("history", row, _HISTORY, wall_time)

    def add_evaluation(self, row: Row, wall_time: float) -> None:
        """Add an evaluation; those of averaged weights have tags of their own."""
        self._add("eval" if row["weights"] == "raw" else f"eval_{row['weights']}", row, _EVAL, wall_time)

    def add_final(self, row: Row, wall_time: float) -> None:
        """Add the final numbers of one kind of weights."""
        self._add(f"final_{row['weights']}", row, _FINAL, wall_time)

    def add_images(self, step: int, images: Array, wall_time: float) -> None:
        """Add images (n, C, H, W) in [0, 1] as one picture."""
        from tensorboardX.summary import image

        self._write(step, wall_time, summary=image("samples", _sheet(images), dataformats="CHW"))

    def flush(self) -> None:
        """Pass what was added on to the operating system, so that TensorBoard sees it."""
        self._records.flush()

    def close(self) -> None:
        """Write the rest and close the file."""
        self._records.close()

    def _add(self, prefix: str, row: Row, columns: Iterable[str], wall_time: float) -> None:
        """Add the numbers of a row that were measured; NaN means that they were not."""
        value = self._summaries.Summary.Value
        present = {name: float(row[name]) for name in columns if name in row and not math.isnan(row[name])}
        values = [value(tag=f"{prefix}/{name}", simple_value=number) for name, number in present.items()]
        if values:
            self._write(int(row["step"]), wall_time, summary=self._summaries.Summary(value=values))

    def _write(self, step: int, wall_time: float, **what: Any) -> None:
        event: Event = self._events.Event(step=step, wall_time=wall_time, **what)
        self._records.write(event.SerializeToString())


def add_run(file: EventFile, history: Iterable[Row], evaluations: Iterable[Row], ended_at: float) -> None:
    """Add the rows of a run that were logged so far.

    Args:
        file: a new event file.
        history: rows with ``time_s``, the time spent in training steps until then.
        evaluations: likewise, with the duration of the evaluation, which is not counted.
        ended_at: time of the last row, in seconds since 1970; the others are set back by the time of training.
    """
    rows = [*history]
    trained_s = {int(row["step"]): float(row.get("time_s", math.nan)) for row in rows}
    total_s = max((seconds for seconds in trained_s.values() if math.isfinite(seconds)), default=0.0)

    def wall_time(step: int) -> float:
        seconds = trained_s.get(step, 0.0 if step == 0 else total_s)
        return ended_at - total_s + (seconds if math.isfinite(seconds) else total_s)

    for row in rows:
        file.add_history(row, wall_time(int(row["step"])))
    for row in evaluations:
        file.add_evaluation(row, wall_time(int(row["step"])))


def _sheet(images: Array) -> Array:
    """Place images (n, C, H, W) in rows of about the same number, as one (C, rows · H, columns · W)."""
    import numpy as np

    num, channels, height, width = images.shape
    columns = math.ceil(math.sqrt(num))
    rows = -(-num // columns)
    padded = np.zeros((rows * columns, channels, height, width), np.float32)
    padded[:num] = np.clip(images, 0, 1)
    grid = padded.reshape(rows, columns, channels, height, width).transpose(2, 0, 3, 1, 4)
    return grid.reshape(channels, rows * height, columns * width)
