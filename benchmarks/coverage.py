"""Lines and branches of the packages that the tests reach: ``python -m benchmarks coverage``, or ``make coverage``.

Processes that tests start count as well. coverage itself puts a file into site-packages that begins to measure where
COVERAGE_PROCESS_START is set, also under ``-I`` and ``-P``, and writes nothing to standard error; there is nothing
else to install, and without the variable nothing happens. Every line is kept with the tests that run it (contexts).
Tests that give a process an environment of their own, or kill it, leave out what that process does.

``--data DIR`` summarises what was measured elsewhere. ``results/coverage.md`` has two columns for each name, so that
the tests before and after a change of theirs stand beside each other; ``--against FILE`` names the lines that are lost.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
RESULT = Path(__file__).with_name("results") / "coverage.md"
BUILD = CHECKOUT / "build" / "coverage"
# The second place of a path stands for all others: other checkouts, copies of the package in a study's folder.
SETTINGS = """
[run]
branch = true
parallel = true
data_file = {data}/.coverage
source_pkgs = nllgen, nllgen_analysis
context = ${{COVERAGE_TEST-}}
disable_warnings = no-data-collected, module-not-measured, module-not-imported, couldnt-parse, dynamic-conflict,
    no-sysmon, trace-changed, no-ctracer
[paths]
analysis =
    {checkout}/analysis/nllgen_analysis
    */nllgen_analysis
nllgen =
    {checkout}/nllgen
    */nllgen
[report]
exclude_also =
    if TYPE_CHECKING:
    @overload
"""


def measure(data: Path, settings: Path, tests: Sequence[str]) -> int:
    """Run tests with all their processes measured into ``data``, which plain users can write to; pytest's exit code."""
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    data.chmod(0o777)
    environ = os.environ | {"COVERAGE_PROCESS_START": str(settings)}
    command = [sys.executable, "-m", "pytest", "-p", "tests.faults.contexts", *tests]
    return subprocess.run(command, cwd=CHECKOUT, env=environ).returncode


def combine(data: Path, settings: Path, target: Path) -> None:
    """Put all data files of a folder into one, their paths as they are in this checkout."""
    from coverage import Coverage

    target.unlink(missing_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # a file that a killed process left half-written is passed over and named
        together = Coverage(data_file=str(target), config_file=str(settings))
        together.combine(sorted(map(str, data.glob(".coverage.*"))), keep=True)
        together.save()


def by_package(target: Path, settings: Path) -> dict[str, Counter[str]]:
    """Package → counts of lines and branches, and of those that are covered."""
    from coverage import Coverage

    together = Coverage(data_file=str(target), config_file=str(settings))
    together.load()
    report = target.with_suffix(".json")
    together.json_report(outfile=str(report))
    found: dict[str, Counter[str]] = {}
    for name, file in json.loads(report.read_text())["files"].items():
        path = Path(name) if Path(name).is_absolute() else Path.cwd() / name
        if path.is_relative_to(CHECKOUT):
            counts = {key: count for key, count in file["summary"].items() if type(count) is int}
            found.setdefault(package_of(path.relative_to(CHECKOUT)), Counter()).update(counts)
    return dict(sorted(found.items()))


def package_of(path: Path) -> str:
    """Such as ``nllgen.study``; ``nllgen`` for a module without a package below it."""
    parts = [part for part in path.parts if part != "analysis"]
    return ".".join(parts[:2]) if len(parts) > 2 else parts[0]


def lost(target: Path, against: Path) -> list[str]:
    """Lines that the other data has and this has not, ``file: numbers``; for sources that are the same in both."""
    from coverage import CoverageData

    here, there = CoverageData(str(target)), CoverageData(str(against))
    here.read()
    there.read()
    found = []
    for path in sorted(there.measured_files()):
        gone = sorted({*(there.lines(path) or [])} - {*(here.lines(path) or [])})
        if gone:
            found.append(f"{Path(path).relative_to(CHECKOUT)}: {', '.join(map(str, gone))}")
    return found


def write(path: Path, column: str, head: str, packages: dict[str, Counter[str]]) -> str:
    """Put the column into the table of a file, and leave its other columns as they are; returns the table."""
    text = path.read_text("utf-8") if path.exists() else ""
    heads = dict(re.findall(r"^- (\w+): (.*)$", text, re.M)) | {column: head}
    old = list(dict(re.findall(r"^- (\w+): (.*)$", text, re.M)))
    cells: dict[tuple[str, str], tuple[str, str]] = {}
    for line in re.findall(r"^\| ((?:nllgen[\w.]*|all) .*) \|$", text, re.M):
        package, *values = line.split(" | ")
        cells |= {(package, name): (values[2 * i], values[2 * i + 1]) for i, name in enumerate(old)}
    every = packages | {"all": sum(packages.values(), Counter())}
    for package, counts in every.items():
        lines = _share(counts["covered_lines"], counts["num_statements"])
        cells[package, column] = (lines, _share(counts["covered_branches"], counts["num_branches"]))
    names = sorted({package for package, _ in cells}, key=lambda name: (name == "all", name))
    titles = [f"{name}: {what}" for name in heads for what in ("lines", "branches")]
    rows = [["package", *titles], ["---", *["---:"] * len(titles)]]
    rows += [[package, *(part for name in heads for part in cells.get((package, name), ("", "")))] for package in names]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    told = "\n".join(f"- {name}: {what}" for name, what in heads.items())
    path.write_text(f"# What the tests reach\n\nCovered of all, by package.\n\n{told}\n\n{table}\n", "utf-8")
    return table


def _share(covered: int, count: int) -> str:
    return f"{covered:,} of {count:,}, {100 * covered / count:.1f}%" if count else "none"


def main(arguments: Sequence[str]) -> None:
    """Measure or read, and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks coverage", description=__doc__)
    parser.add_argument("--column", default="now", help="name of the columns to fill")
    parser.add_argument("--data", type=Path, help="folder of data files that are there already: no test is run")
    parser.add_argument("--commit", default=_commit(), help="whose tests were measured, where --data was elsewhere")
    parser.add_argument("--out", type=Path, default=RESULT, help="the table, which is added to")
    parser.add_argument("--against", type=Path, help="combined data of other tests: tell the lines that are lost")
    parser.add_argument("tests", nargs="*", default=[], help="pytest's arguments; without them all tests, two at once")
    options = parser.parse_args(arguments)
    BUILD.mkdir(parents=True, exist_ok=True)
    settings, data, code = BUILD / "settings.ini", options.data or BUILD / "data", 0
    settings.write_text(SETTINGS.format(data=data.absolute(), checkout=CHECKOUT), "utf-8")
    if options.data is None:
        code = measure(data, settings, options.tests or ["--numprocesses", "auto"])
    target = BUILD / f"{options.column}.sqlite"
    combine(data, settings, target)
    head = f"{len(list(data.iterdir())):,} processes, on {datetime.now(UTC):%Y-%m-%d}; commit {options.commit}"
    print(write(options.out, options.column, head, by_package(target, settings)))
    print(f"by test: {target}")
    if options.against is not None:
        print("\n".join(("lost lines:", *(lost(target, options.against) or ["none"]))))
    sys.exit(code)


def _commit() -> str:
    command = ["git", "-C", str(CHECKOUT), "describe", "--always", "--dirty", "--exclude", "*"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip() or "unknown"
