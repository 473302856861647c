"""Curves of a run for TensorBoard, while it trains. They are a copy: what cannot be written never stops the run."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from nllgen.paradigms.guard import Scalars
from nllgen.storage.event_file import EventFile, add_run
from nllgen.storage.result import Result
from nllgen.train.state import TrainState
from nllgen.worker.settings import echo

_FLUSH_EVERY_S = 5.0


class EventLog:
    """The event file of one attempt.

    It begins with all rows that the attempt resumes from, and TensorBoard forgets the points of earlier attempts: what
    they logged after their last checkpoint is trained again.

    Args:
        directory: of the run's event files; None logs nothing.
        attempt: name of the attempt.
    """

    def __init__(self, directory: Path | None, attempt: str):
        self._directory = directory
        self._attempt = attempt
        self._file: EventFile | None = None
        self._flushed_at = 0.0

    def start(self, state: TrainState) -> None:
        """Open the file, with the rows of a state that was resumed."""
        directory = self._directory
        if directory is None:
            return
        with self._ending_at_failure():
            self._file = EventFile(directory, self._attempt)
        self._write(lambda file: add_run(file, state.history, state.evals, time.time()), flush=True)

    def add_history(self, step: int, scalars: Scalars) -> None:
        """Add a logged step."""
        due = time.monotonic() - self._flushed_at > _FLUSH_EVERY_S
        self._write(lambda file: file.add_history({"step": step, **scalars}, time.time()), flush=due)

    def add_evaluation(self, step: int, role: str, row: Scalars) -> None:
        """Add an evaluation."""
        evaluation = {"step": step, "weights": role, **row}
        self._write(lambda file: file.add_evaluation(evaluation, time.time()), flush=True)

    def add_result(self, result: Result) -> None:
        """Add the final numbers and the kept samples."""
        now, last = time.time(), max(result.final["step"], default=0)
        for number in range(len(result.final["step"])):
            row = {name: column[number] for name, column in result.final.items()}
            self._write(lambda file, row=row: file.add_final(row, now))  # type: ignore[misc]  # bound now
        if len(result.samples):
            self._write(lambda file: file.add_images(int(last), result.samples, now), flush=True)

    def close(self) -> None:
        """Close the file."""
        self._write(lambda file: file.close())
        self._file = None

    def _write(self, write: Callable[[EventFile], None], *, flush: bool = False) -> None:
        file = self._file
        if file is None:
            return
        with self._ending_at_failure():
            write(file)
            if flush:
                file.flush()
                self._flushed_at = time.monotonic()

    @contextlib.contextmanager
    def _ending_at_failure(self) -> Iterator[None]:
        """Print why writing failed, once, and log nothing more: half a record hides all that comes after it."""
        try:
            yield
        except Exception as error:  # whatever the disk or the library raises, the run goes on
            echo(f"no more of this attempt is written for TensorBoard: {error}")
            file, self._file = self._file, None
            if file is not None:
                with contextlib.suppress(Exception):
                    file.close()
