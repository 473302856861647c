"""Runs of ``nllgen`` in this process, and checks of its refusals."""

from __future__ import annotations

import contextlib
import gc
import os
import pty
import signal
import subprocess
import sys
import tempfile
import traceback
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from nllgen.cli import main
from nllgen.launch.freeze import freeze
from nllgen.study.load import parse_study

Run = Callable[..., subprocess.CompletedProcess[str]]

NLLGEN = str(Path(sys.executable).with_name("nllgen"))
USAGE, ENVIRONMENT = 2, 3
TINY = """
name: tiny
metrics: {frechet: [], num_samples: 16, num_train_eval: 16, num_kept: 4}
cells:
  - data: {source: mnist, image_size: 14, num_train: 500, num_val: 100, num_test: 100}
    flow: {width: 2, blocks: 0, scales: 1}
    paradigm: {name: nll, steps: 2, batch_size: 16, eval_every: 1}
    precision: fp32
    seed: {range: [0, 2]}
"""
TEN_THOUSAND = TINY.replace("range: [0, 2]", "range: [0, 10000]").replace("name: tiny", "name: many")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2)  # those that commands handle


def frozen(root: Path, text: str = TINY) -> Path:
    """Freeze a study in which nothing has run, and return its directory."""
    folder, _, _ = freeze(parse_study(text, "tiny.yaml", precision="fp32"), root)
    return folder.path


def refused(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """Check an exit code, and that standard error is one message with these words and no traceback."""
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    for word in words:
        assert word in done.stderr
    assert done.stderr.lower().startswith(("error: ", "usage: "))


def shown_on_terminal(command: Sequence[str], env: Mapping[str, str] | None = None, *, is_error: bool = True) -> str:
    """Run a command on a terminal and return what it shows there; standard error only with ``is_error``."""
    ours, theirs = pty.openpty()
    error = theirs if is_error else subprocess.DEVNULL
    with subprocess.Popen(command, stdout=theirs, stderr=error, env=env) as process:
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 4096):
                shown += part
        except OSError:  # the other end is closed
            pass
        os.close(ours)
    assert process.returncode == 0
    return shown.decode()


def in_process(arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the entry point of ``nllgen`` in this process, so that packages are imported once for all tests.

    The run has its own working directory, environment, signal handlers and descriptors 0, 1 and 2, which its children
    inherit. Python's warnings are errors, as in every test.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        with _streams(out.fileno(), err.fileno()), _surroundings(cwd, env), _argv(arguments):
            code = _exit_code()
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read())
    return subprocess.CompletedProcess([NLLGEN, *arguments], code, *texts)


def _exit_code() -> int:
    """Run ``nllgen`` and return the exit code that its process would have."""
    try:
        main()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


@contextlib.contextmanager
def _streams(out: int, err: int) -> Iterator[None]:
    """Make standard input empty and redirect standard output and error to files, for Python and its children."""
    before = (sys.stdin, sys.stdout, sys.stderr)
    for stream in before[1:]:
        stream.flush()
    kept = [os.dup(number) for number in range(3)]
    null = os.open(os.devnull, os.O_RDONLY)
    for number, file in enumerate((null, out, err)):
        os.dup2(file, number)
    streams = [os.fdopen(number, mode, closefd=False) for number, mode in enumerate("rww")]
    sys.stdin, sys.stdout, sys.stderr = streams
    try:
        yield
    finally:
        sys.stdin, sys.stdout, sys.stderr = before
        for stream in streams:
            stream.close()
        for number, file in enumerate(kept):
            os.dup2(file, number)
        for file in (*kept, null):
            os.close(file)


@contextlib.contextmanager
def _surroundings(cwd: Path, env: Mapping[str, str]) -> Iterator[None]:
    """Set the working directory and environment; restore them, signal handlers, torch's threads and the collector."""
    folder, variables, mask = Path.cwd(), dict(os.environ), os.umask(0o022)
    handlers = {number: signal.getsignal(number) or signal.SIG_DFL for number in _SIGNALS}
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else 1
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    urllib.request.install_opener(None)  # an installed opener keeps the proxies of an earlier environment
    try:
        yield
    finally:
        urllib.request.install_opener(None)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(variables)
        os.umask(mask)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(threads)
        gc.enable()


@contextlib.contextmanager
def _argv(arguments: Sequence[str]) -> Iterator[None]:
    before, sys.argv = sys.argv, [NLLGEN, *arguments]
    try:
        yield
    finally:
        sys.argv = before
