"""A study that runs on this machine in real processes, for tests that disturb them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nllgen.launch.tasks import read_attempts
from nllgen.storage.result import read_attrs
from nllgen.storage.study_dir import StudyDir
from tests.cli.process import in_process

PATIENCE_S = 300.0


@dataclass
class Run:
    """A study in its own root, and commands on it."""

    root: Path
    grid: Path
    assets: Path

    @property
    def folder(self) -> StudyDir:
        return StudyDir(self.root / "tiny")

    def start(self, *options: str, workers: int = 2) -> subprocess.Popen[str]:
        """Start ``nllgen submit`` in a process group that does not ignore Ctrl-C, as in a terminal.

        A process that a script runs in the background inherits that Ctrl-C is ignored; the tests may be run like that.
        """
        command = [sys.executable, "-m", "nllgen", "submit", "--grid", str(self.grid), "--root", str(self.root)]
        return subprocess.Popen(
            [*command, "--local", "--workers", str(workers), *options],
            env=os.environ | {"NLLGEN_ASSETS": str(self.assets)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            umask=0o002,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def submit(self, *, wait: bool = True, workers: int = 2) -> tuple[int, str]:
        process = self.start(*["--wait"] * wait, workers=workers)
        output, _ = process.communicate(timeout=PATIENCE_S)
        return process.returncode, output

    def states(self) -> dict[str, dict[str, Any]]:
        done = in_process(["status", "--json", str(self.folder.path)], cwd=self.root, env=os.environ.copy())
        return {row["name"]: row for row in json.loads(done.stdout)["tasks"]}

    def science(self) -> dict[str, str]:
        """Return the science digest of each result."""
        results = self.folder.path.glob("*/*/result.h5")
        return {str(path.relative_to(self.root)): read_attrs(path)["science_sha256"] for path in results}

    def pids(self, word: str = "") -> list[int]:
        """Return live processes with this study's directory, and a word, on their command line."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = path.read_bytes().decode(errors="replace")
            except OSError:
                continue
            if f"{self.folder.path}" in line and word in line:
                found.append(int(path.parent.name))
        return found

    def workers_of(self, cell: str) -> list[int]:
        """Return the workers that print into the cell's log."""
        log = str(self.folder.cell(cell).log)
        found = []
        for pid in self.pids("worker"):
            try:
                found += [pid] if str(Path(f"/proc/{pid}/fd/1").readlink()) == log else []
            except OSError:
                continue
        return found

    def starts(self, cell: str) -> int:
        """Return the number of attempts that were started."""
        return sum(line["event"] == "started" for line in read_attempts(self.folder.cell(cell).attempts))

    def training(self) -> list[str]:
        """Return cells that a worker trains, by their logs."""
        logs = self.folder.path.glob("cells/*/log.txt")
        names = [path.parent.name for path in logs if "step 0 raw" in path.read_text()]
        return [name for name in names if self.workers_of(name)]

    def hold(self) -> tuple[list[str], list[int]]:
        """Stop the workers of all cells that train, as soon as one does; return those cells and the workers.

        None of the cells has a result, so that the test has time for its disturbance.
        """
        give_up = time.monotonic() + PATIENCE_S
        while True:
            workers = self.pids("worker")
            send(signal.SIGSTOP, workers)  # nothing trains during the check, even on a busy machine
            training = {cell: self.workers_of(cell) for cell in self.training()}
            cells = [cell for cell in training if not self.folder.cell(cell).result.exists()]
            held = [pid for cell in training for pid in training[cell]]
            if cells:
                send(signal.SIGCONT, [pid for pid in workers if pid not in held])
                return cells, held
            send(signal.SIGCONT, workers)
            assert time.monotonic() < give_up, "waited in vain until a cell trains"
            assert not self.is_over(), "every cell was done before this saw it train"
            time.sleep(0.02)

    def is_over(self) -> bool:
        """Return whether each cell of the study has a result."""
        study_dir = self.folder
        cells = study_dir.read_study().cells if study_dir.is_frozen else ()
        return bool(cells) and all(study_dir.cell(cell.id).result.exists() for cell in cells)


def send(number: signal.Signals, *several: list[int]) -> None:
    """Send a signal to processes, some of which may have ended."""
    for pids in several:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def wait_for(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"waited in vain until {what}"
        time.sleep(0.05)
