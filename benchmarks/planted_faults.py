"""Mutation testing: ``python -m benchmarks planted_faults --column NAME`` runs the tests on each planted fault.

``planted_faults.toml`` has small changes of the packages' sources, most of them from the seeded sample of
``benchmarks/planted/candidates.py``. Each is planted alone into a copy of the checkout. The tests named for it are run,
then those of its package, and, given coverage data with contexts, all that reach its lines. A test catches a fault when
it fails with it and passes without it; all tests that caught one are run again in the unplanted copy at the end.
``results/planted_faults.md`` has a column for each name, so that the tests before and after a change can be compared.
"""

from __future__ import annotations

import argparse
import contextlib
import platform
import queue
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.planted.reaching import reaching_tests
from benchmarks.planted.trial import CHECKOUT, Copy, Fault, Ran, read_faults
from nllgen.study.hardware import num_cores

RESULT = Path(__file__).with_name("results") / "planted_faults.md"
ESCAPES = "**escapes**"
OVER = "out of time"
WITHOUT = "fails without it as well:"
UNCAUGHT = (ESCAPES, OVER, WITHOUT)
LAST = (
    "tests/cli/test_offline.py",
    "tests/cluster",
    "tests/container",
    "tests/analysis/test_browser.py",
    "tests/test_packaging.py",
)


@dataclass
class Table:
    """A table with a row for each fault and, for each column, the test that caught it and the seconds that it took."""

    columns: list[str] = field(default_factory=list)
    heads: dict[str, str] = field(default_factory=dict)
    cells: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Table:
        """Read the table of a file; without a file it is empty."""
        table = cls()
        text = path.read_text("utf-8") if path.exists() else ""
        table.heads = dict(re.findall(r"^- (\w+): (.*)$", text, re.M))
        table.columns = list(table.heads)
        for line in text.splitlines():
            values = [part.strip().replace("\\|", "|") for part in re.split(r"(?<!\\)\|", line)[1:-1]]
            for i, column in enumerate(table.columns):
                if (
                    len(values) == 3 + 2 * len(table.columns)
                    and values[3 + 2 * i]
                    and values[0] not in ("fault", "---")
                ):
                    table.cells[values[0], column] = (values[3 + 2 * i], values[4 + 2 * i])
        return table

    def write(self, path: Path, faults: Sequence[Fault]) -> None:
        """Write the table to a file, in the order of the faults."""
        names = [part for column in self.columns for part in (f"{column}: caught by", "s")]
        lines = ["# Planted faults", "", *(f"- {column}: {self.heads[column]}" for column in self.columns), ""]
        lines += [*(self.summary(column, faults) for column in self.columns), ""]
        lines += [_row(["fault", "file", "change", *names]), _row(["---"] * (3 + len(names)))]
        for fault in faults:
            pairs = [self.cells.get((fault.name, column), ("", "")) for column in self.columns]
            cells = [fault.name, fault.file, f"{fault.operator}: `{fault.change}`"]
            lines.append(_row([*cells, *(part for pair in pairs for part in pair)]))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", "utf-8")

    def summary(self, column: str, faults: Sequence[Fault]) -> str:
        """Return the numbers of planted and caught faults as text."""
        pairs = [self.cells[fault.name, column] for fault in faults if (fault.name, column) in self.cells]
        escaped = [caught for caught, _ in pairs if caught.startswith(UNCAUGHT)]
        seconds = sum(float(took) for _, took in pairs)
        counts = f"{len(pairs)} of {len(faults)} faults planted, {len(pairs) - len(escaped)} caught"
        return f"In {column}, {counts}, {len(escaped)} not; {seconds:,.0f} s.\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def hunt(fault: Fault, copy: Copy, steps: Sequence[Sequence[str]]) -> tuple[str, float]:
    """Return the test that catches a fault, and the seconds until it failed."""
    seconds, ran = 0.0, Ran((), 0.0)
    copy.plant(fault)
    try:
        for tests in steps:
            ran = copy.run(tests)
            seconds += ran.seconds
            if ran.failed or ran.out_of_time:
                break
    finally:
        copy.heal(fault)
    return (OVER if ran.out_of_time else ran.failed[0] if ran.failed else ESCAPES), seconds


def verify(table: Table, column: str, names: Sequence[str], copy: Copy) -> None:
    """Run the tests that caught these faults without a fault; mark the faults whose test fails then, too."""
    caught = {name: table.cells[name, column][0] for name in names if (name, column) in table.cells}
    tests = {name: _ids(test) for name, test in caught.items() if not test.startswith(UNCAUGHT)}
    ran = copy.run(sorted({test for ids in tests.values() for test in ids}), until_first=False, limit_s=4 * 3600)
    if ran.out_of_time or (ran.failed and not ran.failed[0].startswith("tests/")):
        raise RuntimeError(f"the tests do not run without a fault:\n{ran.output[-2000:]}")
    for name, ids in tests.items():
        if any(failed == test or failed.startswith(f"{test}::") for failed in ran.failed for test in ids):
            table.cells[name, column] = (f"{WITHOUT} {caught[name]}", table.cells[name, column][1])


def _ids(caught: str) -> list[str]:
    """Return the tests to run again: one test, or the paths with which pytest could not start."""
    return [caught] if caught.startswith("tests/") else caught.partition(" at ")[2].split()


def known(fault: Fault, table: Table, column: str) -> list[list[str]]:
    """Return the test that caught a fault in another column, if it still exists."""
    test = table.cells.get((fault.name, column), ("", ""))[0]
    file, _, name = test.partition("::")
    path, function = CHECKOUT / file, name.partition("[")[0].rpartition("::")[2]
    is_there = bool(name) and path.is_file() and f"def {function}(" in path.read_text("utf-8")
    return [[test.partition("[")[0]]] if is_there else []


def steps_of(fault: Fault, options: argparse.Namespace) -> list[list[str]]:
    """Return the test runs for a fault: its own tests, its package's, and those that reach it, the slow ones last."""
    steps = [] if options.escaped else [[test] for test in fault.tests]
    steps += [] if options.quick else [[test] for test in fault.wider]
    if options.contexts is not None:
        tried = (*fault.tests, *(() if options.quick else fault.wider))
        reaching = [test for test in reaching_tests(options.contexts, fault, CHECKOUT) if not test.startswith(tried)]
        slow = [test for test in reaching if test.startswith(LAST)]
        steps += [[test for test in reaching if test not in slow], [] if options.cheap else slow]
    return [step for step in steps if step]


def main(arguments: Sequence[str]) -> None:
    """Run the tests on each planted fault and write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks planted_faults", description=__doc__)
    parser.add_argument("--column", default="now", help="name of the column to fill")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="only these faults")
    parser.add_argument("--jobs", type=int, default=1, help="number of copies to work in")
    parser.add_argument("--out", type=Path, default=RESULT, help="the table to extend")
    parser.add_argument("--resume", action="store_true", help="skip faults that the column already has")
    parser.add_argument(
        "--escaped", action="store_true", help="only faults that no test has caught yet, with other tests"
    )
    parser.add_argument("--quick", action="store_true", help="run only the tests that are named for a fault")
    parser.add_argument("--known", default="", metavar="COLUMN", help="first run the test that this column names")
    parser.add_argument("--verify", action="store_true", help="plant nothing; run the column's tests without a fault")
    parser.add_argument("--cheap", action="store_true", help="without Slurm, container, browser, installation")
    parser.add_argument("--limit-s", type=float, default=1200.0, help="time limit of each test run of a fault")
    parser.add_argument(
        "--contexts", type=Path, help="coverage data with test ids as contexts; runs all tests that reach a fault"
    )
    options = parser.parse_args(arguments)
    faults = read_faults()
    for fault in faults:
        fault.planted((CHECKOUT / fault.file).read_text("utf-8"))  # raises where a fragment does not occur exactly once
    if unknown := set(options.only) - {fault.name for fault in faults}:
        parser.error(f"there is no fault {', '.join(sorted(unknown))}")
    table = Table.read(options.out)
    if options.column not in table.columns:
        table.columns.append(options.column)
    table.heads[options.column] = _head(options.column)
    wanted = [fault for fault in faults if not options.only or fault.name in options.only]
    if options.resume:
        wanted = [fault for fault in wanted if (fault.name, options.column) not in table.cells]
    if options.escaped:
        escaped = {
            name
            for (name, column), cell in table.cells.items()
            if column == options.column and cell[0].startswith(UNCAUGHT)
        }
        wanted = [each for each in wanted if each.name in escaped]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the copies are removed
    _plant_all(wanted, faults, table, options)
    print(table.summary(options.column, faults))


def _plant_all(wanted: list[Fault], faults: list[Fault], table: Table, options: argparse.Namespace) -> None:
    with contextlib.ExitStack() as stack:
        temporary = tempfile.TemporaryDirectory(prefix="nllgen-planted-", ignore_cleanup_errors=True)
        directory = Path(stack.enter_context(temporary))
        directory.chmod(0o755)
        copies: queue.SimpleQueue[Copy] = queue.SimpleQueue()
        for number in range(options.jobs):
            copy = Copy(directory / str(number), options.limit_s).make()
            stack.callback(copy.close)
            copies.put(copy)
        lock = threading.Lock()

        def one(fault: Fault) -> None:
            copy = copies.get()
            try:
                caught, seconds = hunt(fault, copy, [*known(fault, table, options.known), *steps_of(fault, options)])
            except RuntimeError as error:  # --resume tries it again
                print(f"{fault.name}: {error}", flush=True)
                return
            finally:
                copies.put(copy)
            with lock:
                before = table.cells.get((fault.name, options.column), ("", "0"))[1] if options.escaped else "0"
                table.cells[fault.name, options.column] = (caught, f"{seconds + float(before):.0f}")
                table.write(options.out, faults)
                print(f"{fault.name}: {caught}, {seconds:.0f} s", flush=True)

        with ThreadPoolExecutor(options.jobs) as pool:
            try:
                list(pool.map(one, [] if options.verify else wanted))
            except BaseException:  # such as Ctrl-C
                pool.shutdown(wait=False, cancel_futures=True)
                stack.close()  # ends the processes
                raise
        verify(table, options.column, [fault.name for fault in wanted], copies.get())
    table.write(options.out, faults)


def _head(column: str) -> str:
    from benchmarks.__main__ import processor
    from nllgen.storage.provenance import code_sha256

    machine = f"{processor()}, {num_cores()} cores, Python {platform.python_version()}"
    command = f"`python -m benchmarks planted_faults --column {column}`"
    return f"{command} on {datetime.now(UTC):%Y-%m-%d}, {machine}; code {code_sha256()[:12]}"
