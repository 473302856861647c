"""Messages between a supervisor and its worker: options at the start, an order for each task, an answer to it."""

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
