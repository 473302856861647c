"""Messages between a process without torch and one with it, each a line of JSON.

A supervisor gives its worker options at the start and an order for each task, which is answered. A plan orders timings.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Self

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from nllgen.errors import ConfigError
from nllgen.study.validation import one_line

_STRICT = ConfigDict(extra="forbid")
Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:[0-9]{1,4})?)$")]


class _Message:
    """Base of the messages: one line of JSON each, validated when it is read."""

    def to_json(self) -> str:
        """Return the message as one line of JSON."""
        return json.dumps(asdict(self), default=str)  # type: ignore[call-overload]  # subclasses are dataclasses

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return the message that a text holds.

        Raises:
            ConfigError: it is no JSON object, or a value is missing, unknown or not allowed.
        """
        try:
            values = json.loads(text)
            if not isinstance(values, dict):
                raise ValueError("not a JSON object")
            return cls(**values)
        except (ValueError, RecursionError) as error:
            raise ConfigError(
                f"{cls.__name__}: {one_line(error)}", "run supervisor and worker from one version of nllgen"
            ) from error


@dataclass(frozen=True, config=_STRICT)
class RunOptions(_Message):
    """Options of a worker, the same for all of its tasks.

    Attributes:
        threads: of torch, unless an order says otherwise.
        checkpoint_s: seconds between checkpoints.
        checkpoint_steps: steps between checkpoints; 0 saves by time only.
        container_sha256: digest of the container that the worker runs in; empty outside of one.
        strict_container: do not accept results that another container made.
        code_sha256: digest of the package that was submitted; empty where it is not compared.
    """

    assets: Path
    device: Device = "auto"
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    checkpoint_s: Annotated[float, Field(ge=0)] = 300.0
    checkpoint_steps: Annotated[int, Field(ge=0)] = 0
    container_sha256: str = ""
    strict_container: bool = False
    code_sha256: str = ""

    @property
    def required_container(self) -> str | None:
        """Return the digest of the container that results must come from; None where any will do."""
        return self.container_sha256 if self.strict_container else None


@dataclass(frozen=True, config=_STRICT)
class TaskOrder(_Message):
    """An order to run one task.

    Attributes:
        task: ``truth``, ``dataset`` or a cell's id.
        attempt: name of the attempt, unique among those of the study.
        attempts: number of attempts on this task so far, this one included.
        threads: of torch, as in the task's first attempt; 0 takes the worker's.
        log: file for the task's output; empty leaves the output where it is.
    """

    task: str
    attempt: str
    attempts: Annotated[int, Field(ge=1)] = 1
    threads: Annotated[int, Field(ge=0)] = 0
    log: str = ""


@dataclass(frozen=True, config=_STRICT)
class TaskAnswer(_Message):
    """Answer of a worker to an order, when the task has ended.

    Attributes:
        exit_code: 0 where the task is done.
        reason: reason of a failure, where it is known.
    """

    exit_code: int
    reason: str = ""
    attempt: str = ""


_Seconds = Annotated[float, Field(ge=0, lt=1e6, allow_inf_nan=False)]


@dataclass(frozen=True, config=_STRICT)
class TimingOrder(_Message):
    """An order to time cells on one core of this machine.

    Attributes:
        cells: configurations as JSON; their data are random, so that no file is read.
        processes: in which steps of the first cell are repeated at once; 0 leaves that out.
    """

    cells: tuple[str, ...]
    processes: Annotated[int, Field(ge=0, le=1024)] = 0


@dataclass(frozen=True, config=_STRICT)
class CellTiming:
    """Seconds of processor time of one cell.

    Attributes:
        step_s: a step of training.
        density_s, sample_s: of an image in fp32, without gradients.
        reason: why it could not be timed; empty where it was.
    """

    step_s: _Seconds = 0.0
    density_s: _Seconds = 0.0
    sample_s: _Seconds = 0.0
    reason: str = ""


@dataclass(frozen=True, config=_STRICT)
class TimingAnswer(_Message):
    """Seconds of processor time on this machine.

    Attributes:
        cells: in the order of the order.
        start_s: until this process could begin.
        pair_s: of a distance between the features of two images; 0 where nothing was to be repeated at once.
        busy_ratio: seconds of a step in several processes at once, relative to a step alone.
    """

    cells: tuple[CellTiming, ...]
    start_s: _Seconds
    pair_s: _Seconds = 0.0
    busy_ratio: _Seconds = 1.0
