"""Worker processes of a supervisor: start, order, answer, stop."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from nllgen.container import Bind, container_python, exec_command, verify_container
from nllgen.errors import EXIT_CELLS_FAILED, ConfigError, NllgenError
from nllgen.launch.gpus import MPS_PIPES, Gpu, mps_pipes
from nllgen.launch.profile import Profile
from nllgen.launch.secrets import passed_variables
from nllgen.study.hardware import THREAD_VARIABLES
from nllgen.study.run_options import RunOptions, TaskAnswer, TaskOrder
from nllgen.study.validation import one_line


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class WorkerConfig:
    """Configuration of a submission's workers: their options, and what the host needs to start them."""

    options: RunOptions  # options of every worker; :meth:`command` sets the threads
    code: Path | None = None  # folder that holds the submitted copy of the package; the installed package where None
    container: Path | None = None  # SIF that workers run in; the host's Python where None
    binds: tuple[str, ...] = ()  # further folders to mount in the container, ``SOURCE[:TARGET]``
    environment: tuple[tuple[str, str], ...] = ()  # variables for the workers, by name
    scratch: str | None = None  # node-local folder for temporary files
    program: tuple[str, ...] = ()  # command to start in place of ``nllgen worker``, for benchmarks
    pass_environment: tuple[str, ...] = ()  # names of variables of the job that the workers get, too

    def to_record(self) -> dict[str, Any]:
        """Return the configuration as plain values for the record of a submission."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        return values

    @classmethod
    def from_record(cls, values: Mapping[str, Any]) -> WorkerConfig:
        """Return a recorded configuration. A record is data: the program that it names is ignored.

        Raises:
            NllgenError: the record is damaged or of another version.
        """
        try:
            return cls(**{**values, "program": ()})
        except (TypeError, ValueError) as error:
            raise NllgenError(
                f"the record of the submission is damaged or of another version: {one_line(error)}",
                "submit the grid again",
            ) from error

    def with_profile(self, profile: Profile) -> WorkerConfig:
        """Return a configuration with a profile's binds, variables and scratch, and its container if it has one.

        Raises:
            ContainerError: the container cannot be used.
        """
        variables = tuple(profile.environment.items())
        config = replace(
            self,
            binds=profile.binds,
            environment=variables,
            pass_environment=profile.pass_environment,
            scratch=profile.scratch,
        )
        return config.with_container(Path(profile.container)) if profile.container else config

    def with_container(self, path: Path) -> WorkerConfig:
        """Return a configuration whose workers run in a container.

        Raises:
            ContainerError: the container cannot be used.
        """
        container = verify_container(path)
        options = replace(self.options, container_sha256=container.sha256)
        return replace(self, container=container.path.absolute(), options=options)

    def command(self, study_dir: Path, threads: int, gpus: Sequence[Gpu]) -> tuple[list[str], dict[str, str]]:
        """Return a worker's command line and the variables to add to the supervisor's environment.

        Raises:
            NllgenError: the container is gone or has changed.
        """
        variables = self._variables(threads, gpus)
        options = replace(self.options, threads=threads)
        arguments = ["worker", str(study_dir), "--options"]
        if self.container is None:
            variables |= isolated(self.code) if self.code is not None else {}
            program = self.program or (sys.executable, "-m", "nllgen")
            return [*program, *arguments, options.to_json()], variables
        further = (text.partition(":") for text in self.binds)
        binds = [Bind(study_dir, writable=True), *(Bind(Path(source), target) for source, _, target in further)]
        binds += [Bind(options.assets)] if options.assets.is_dir() else []
        binds += [Bind(Path(variables["TMPDIR"]), writable=True)] if self.scratch else []
        if gpus and (pipes := mps_pipes(os.environ | variables)) is not None:
            binds.append(Bind(pipes, writable=True))
            variables[MPS_PIPES] = str(pipes)
        inside = replace(options, code_sha256="")  # the container has its own package
        return exec_command(
            verify_container(self.container),
            [*container_python(), *arguments, inside.to_json()],
            binds=binds,
            environment=variables,
            gpus=bool(gpus),
            network=True,
        )

    def _variables(self, threads: int, gpus: Sequence[Gpu]) -> dict[str, str]:
        variables = dict.fromkeys(THREAD_VARIABLES, str(threads)) | dict(self.environment)
        variables |= passed_variables(self.pass_environment)
        if gpus:
            variables["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, gpus))
        if self.scratch:
            variables["TMPDIR"] = os.path.expandvars(self.scratch)
        return variables


def isolated(code: Path) -> dict[str, str]:
    """Return variables that make Python import a copy of the package, and nothing from the working directory.

    An empty part of PYTHONPATH, as ``export PYTHONPATH=$PYTHONPATH:/x`` leaves it, would mean that directory.
    """
    parts = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    path = os.pathsep.join([str(code), *map(os.path.abspath, parts)])
    return {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}


class WorkerProcess:
    """A worker process.

    Its standard error goes to a log until the worker redirects it to a task's. No processors leave it unbound.
    """

    def __init__(self, argv: Sequence[str], variables: Mapping[str, str], log: Path, cpus: Sequence[int] = ()):
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        errors = os.open(log, flags, 0o644)
        try:
            self.process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=os.environ | dict(variables),
                start_new_session=True,  # the supervisor alone handles a Ctrl-C in the terminal
            )
        finally:
            os.close(errors)
        if cpus:
            with contextlib.suppress(OSError):  # it has ended already, which poll will show
                os.sched_setaffinity(self.process.pid, cpus)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._orders, self._answers = self.process.stdin, self.process.stdout
        os.set_blocking(self._answers.fileno(), False)
        self._received = b""

    def fileno(self) -> int:
        """Return the descriptor of the worker's answers, for ``selectors``."""
        return self._answers.fileno()

    def order(self, order: TaskOrder) -> None:
        """Send an order; a worker that has ended ignores it."""
        with contextlib.suppress(OSError, ValueError):
            self._orders.write(order.to_json().encode() + b"\n")
            self._orders.flush()

    def answer(self) -> TaskAnswer | None:
        """Return the next answer, None where none has arrived; any other line counts as a failure."""
        with contextlib.suppress(BlockingIOError):
            while part := self._answers.read(65_536):
                self._received += part
        line, newline, rest = self._received.partition(b"\n")
        if not newline:
            return None
        self._received = rest
        try:
            return TaskAnswer.from_json(line)
        except ConfigError:
            return TaskAnswer(EXIT_CELLS_FAILED, f"the worker said {line[:100]!r}")

    def ask_to_stop(self) -> None:
        """Close the worker's standard input. That works in a container, where a signal would not arrive.

        A supervisor that dies closes it as well.
        """
        with contextlib.suppress(OSError):
            self._orders.close()

    def close(self, patience_s: float) -> None:
        """Ask the worker to stop, wait, and kill it if that takes too long."""
        self.ask_to_stop()
        try:
            self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._answers.close()
