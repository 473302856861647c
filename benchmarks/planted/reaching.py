"""Tests that reach a line, by the contexts in coverage's data."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

from benchmarks.planted.trial import Fault


def reaching_tests(data: Path, fault: Fault, checkout: Path) -> list[str]:
    """Return the sorted ids of tests that run a line of a fault's fragment and still exist.

    Args:
        data: a combined data file of coverage, its contexts the ids of tests, ``;`` in place of commas.
        fault: the fault.
        checkout: the directory of the tests and of the fault's file.
    """
    source = (checkout / fault.file).read_text("utf-8")
    first = source.count("\n", 0, source.index(fault.old)) + 1
    lines = range(first, first + fault.old.count("\n") + 1)
    with sqlite3.connect(f"file:{data}?mode=ro", uri=True) as database:
        rows = database.execute(
            "select distinct context.context, arc.fromno, arc.tono from arc join file on file.id = arc.file_id "
            "join context on context.id = arc.context_id where file.path like ?",
            (f"%/{fault.file}",),
        )
        tests = {context.replace(";", ",") for context, begin, end in rows if {begin, end} & set(lines)}
    return sorted(test for test in tests if _is_there(test, checkout))


def _is_there(test: str, checkout: Path) -> bool:
    path, _, name = test.partition("::")
    function = re.sub(r"\[.*", "", name, flags=re.S).rpartition("::")[2]
    there = path and (checkout / path).is_file()
    return bool(there) and f"def {function}(" in (checkout / path).read_text("utf-8")
