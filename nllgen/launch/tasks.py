"""The tasks of a study, their order, and the record of attempts on each of them."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from nllgen.errors import MachineError
from nllgen.planning.calibration import known_calibration
from nllgen.planning.cost import cell_cost
from nllgen.storage.atomic import raise_os_error
from nllgen.storage.tasks import Task
from nllgen.storage.untrusted import parse_untrusted_json
from nllgen.study.config import Study
from nllgen.study.untrusted_files import read_regular

_MAX_BYTES = 8 << 20  # attempts of a task have a few hundred bytes each


def longest_first(tasks: list[Task], study: Study) -> list[Task]:
    """Sort tasks: the truth and its data set first, then cells by falling cost, so that no long cell runs last."""
    seconds = seconds_of(study)
    return sorted(tasks, key=lambda task: -seconds.get(task.name, math.inf))


def with_needs(tasks: Sequence[Task], names: Collection[str]) -> list[Task]:
    """Return the named tasks and those that they need, in the order of all tasks: a task comes after its needs."""
    wanted = set(names)
    for task in reversed(tasks):
        if task.name in wanted:
            wanted |= set(task.needs)
    return [task for task in tasks if task.name in wanted]


def seconds_of(study: Study) -> dict[str, float]:
    """Return cell id → seconds that a whole run takes on one core, estimated by :mod:`nllgen.planning.cost`."""
    calibration = known_calibration().values
    return {cell.id: cell_cost(cell, study, calibration).seconds(cell.paradigm.steps) for cell in study.cells}


def record(path: Path, **fields: Any) -> None:
    """Append a line to a task's attempts, in a single write so that lines of two writers do not mix.

    Raises:
        MachineError: the disk is full, or the folder is read-only or gone.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    try:
        with os.fdopen(os.open(path, flags, 0o644), "r+b", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            is_torn = size > 0 and os.pread(file.fileno(), 1, size - 1) != b"\n"  # or another writer is at work
            line = b"\n" * is_torn + json.dumps(fields).encode() + b"\n"
            if file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise_os_error("write", path, error)


def read_attempts(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a task's attempts, without torn ones; none where they cannot be read now."""
    with contextlib.suppress(MachineError):
        return require_attempts(path)
    return []


def require_attempts(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a task's attempts, without torn ones; none before the first attempt.

    Raises:
        MachineError: they cannot be read now.
    """
    try:
        content = read_regular(path, _MAX_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise_os_error("read", path, error)
    lines: list[dict[str, Any]] = []
    for line in content.decode(errors="replace").splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            value = parse_untrusted_json(line)
            if isinstance(value, dict) and isinstance(value.get("attempt", ""), str):
                lines.append(value)
    return lines
