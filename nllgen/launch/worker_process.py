"""Worker processes as a supervisor sees them: started, ordered, heard, asked to stop."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nllgen.container import Bind, container_python, exec_command, verify_container

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class WorkerConfig:
    """How workers are started; the same for every worker of a submission.

    Attributes:
        assets: folder of fetched assets.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        code: folder that holds the package as it was when it was submitted; the installed one where None.
        code_sha256: digest of that package; empty where it is not compared.
        container: SIF that workers run in; None is the host's own Python.
        container_sha256: its digest, empty without one.
        strict_container: a result that another container made does not count.
        binds: further folders to be seen in the container, ``SOURCE[:TARGET]``.
        environment: variables for the workers, by name.
        scratch: node-local folder for temporary files.
        checkpoint_s: seconds between checkpoints.
        program: what is started in place of ``nllgen worker``; benchmarks put something else there.
    """

    assets: Path
    device: str = "auto"
    code: Path | None = None
    code_sha256: str = ""
    container: Path | None = None
    container_sha256: str = ""
    strict_container: bool = False
    binds: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    scratch: str | None = None
    checkpoint_s: float = 300.0
    program: tuple[str, ...] = ()

    def command(self, study_dir: Path, threads: int, gpus: Sequence[int]) -> tuple[list[str], dict[str, str]]:
        """Arguments of a worker, and the variables that its environment needs beside the supervisor's.

        Raises:
            NllgenError: the container is gone or is another one by now.
        """
        options = ["worker", str(study_dir), "--assets", str(self.assets), "--device", self.device]
        options += ["--threads", str(threads), "--checkpoint-s", str(self.checkpoint_s)]
        options += ["--container-sha256", self.container_sha256] * bool(self.container_sha256)
        options += ["--strict-container"] * self.strict_container
        variables = dict.fromkeys(THREAD_VARIABLES, str(threads)) | dict(self.environment)
        if gpus:
            variables["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, gpus))
        if self.scratch:
            variables["TMPDIR"] = os.path.expandvars(self.scratch)
        if self.container is None:
            if self.code is not None:
                variables |= isolated(self.code)
            options += ["--code-sha256", self.code_sha256] * bool(self.code_sha256)
            return [*(self.program or (sys.executable, "-m", "nllgen")), *options], variables
        binds = [Bind(study_dir, writable=True), *map(_bind, self.binds)]
        binds += [Bind(self.assets)] if self.assets.is_dir() else []
        binds += [Bind(Path(variables["TMPDIR"]), writable=True)] if self.scratch else []
        container = verify_container(self.container)
        return exec_command(
            container,
            [*container_python(), *options],
            binds=binds,
            environment=variables,
            gpus=bool(gpus),
            network=True,
        )


def isolated(code: Path) -> dict[str, str]:
    """Return the variables with which Python runs a copy of the package, and nothing of its working directory."""
    path = os.pathsep.join([str(code), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}


def _bind(text: str) -> Bind:
    source, _, target = text.partition(":")
    return Bind(Path(source), target)


class WorkerProcess:
    """A worker process.

    Args:
        argv: what to run.
        variables: added to this process's environment.
        log: takes what it prints before its first task, and its last words.
        cpus: that it is bound to; empty leaves it where it is.
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
                start_new_session=True,  # a Ctrl-C in the terminal is the supervisor's to pass on
            )
        finally:
            os.close(errors)
        if cpus:
            with contextlib.suppress(OSError):  # gone already, which poll will tell
                os.sched_setaffinity(self.process.pid, cpus)
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        self._heard = b""

    def fileno(self) -> int:
        """Of what it answers on, for ``selectors``."""
        assert self.process.stdout is not None
        return self.process.stdout.fileno()

    def order(self, **values: Any) -> None:
        """Give it a task; one that has ended does not mind."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self.process.stdin.write(json.dumps(values).encode() + b"\n")
            self.process.stdin.flush()

    def answer(self) -> dict[str, Any] | None:
        """Its next answer, if it has come."""
        assert self.process.stdout is not None
        with contextlib.suppress(BlockingIOError):
            while part := self.process.stdout.read(65_536):
                self._heard += part
        line, found, rest = self._heard.partition(b"\n")
        if not found:
            return None
        self._heard = rest
        with contextlib.suppress(ValueError):
            value = json.loads(line)
            if isinstance(value, dict) and isinstance(value.get("exit_code"), int):
                return value
        return {"exit_code": 1, "reason": f"the worker said {line[:100]!r}"}

    def ask_to_stop(self) -> None:
        """Needs no signal, and so passes into a container; a worker's supervisor that dies asks like this as well."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def close(self, patience_s: float) -> None:
        """Ask it to stop, wait, and kill it where that takes too long."""
        self.ask_to_stop()
        try:
            self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
