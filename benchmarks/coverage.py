"""Lines and branches of the packages that the tests reach: ``python -m benchmarks coverage``, or ``make coverage``.

Processes that tests start are measured too: coverage installs a file in site-packages that starts measuring where
COVERAGE_PROCESS_START is set, also under ``-I`` and ``-P``. Each line is stored with the tests that run it (contexts).
A process is not measured where its test replaces its environment or kills it.

``--data DIR`` summarises data that was measured elsewhere. ``results/coverage.md`` has two columns for each name, to
compare the tests before and after a change; ``--against FILE`` lists the lines that are no longer reached.
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
# The second path of each list stands for other checkouts and for copies of the package in the directory of a study.
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
    """Run tests, measure all their processes into ``data`` (writable for all users), and return pytest's exit code."""
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    data.chmod(0o777)
    environ = os.environ | {"COVERAGE_PROCESS_START": str(settings)}
    command = [sys.executable, "-m", "pytest", "-p", "tests.faults.contexts", *tests]
    return subprocess.run(command, cwd=CHECKOUT, env=environ).returncode


def combine(data: Path, settings: Path, target: Path) -> None:
    """Combine all data files of a directory into one, with the paths of this checkout."""
    from coverage import Coverage

    target.unlink(missing_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # a half-written file of a killed process is skipped with a warning
        together = Coverage(data_file=str(target), config_file=str(settings))
        together.combine(sorted(map(str, data.glob(".coverage.*"))), keep=True)
        together.save()


def by_package(target: Path, settings: Path) -> dict[str, Counter[str]]:
    """Return for each package the counts of lines and branches, and of those that are covered."""
    from coverage import Coverage

    together = Coverage(data_file=str(target), config_file=str(settings))
    together.load()
    report = target.with_suffix(".json")
    together.json_report(outfile=str(report))
    packages: dict[str, Counter[str]] = {}
    for name, file in json.loads(report.read_text())["files"].items():
        path = Path(name) if Path(name).is_absolute() else Path.cwd() / name
        if path.is_relative_to(CHECKOUT):
            counts = {key: count for key, count in file["summary"].items() if type(count) is int}
            packages.setdefault(package_of(path.relative_to(CHECKOUT)), Counter()).update(counts)
    return dict(sorted(packages.items()))


def package_of(path: Path) -> str:
    """Return the package of a file, such as ``nllgen.study``, or ``nllgen`` for its own modules."""
    parts = [part for part in path.parts if part != "analysis"]
    return ".".join(parts[:2]) if len(parts) > 2 else parts[0]


def lost(target: Path, against: Path) -> list[str]:
    """List lines that only the other data has, as ``file: numbers``; both must be of the same sources."""
    from coverage import CoverageData

    here, there = CoverageData(str(target)), CoverageData(str(against))
    here.read()
    there.read()
    lines = []
    for path in sorted(there.measured_files()):
        gone = sorted({*(there.lines(path) or [])} - {*(here.lines(path) or [])})
        if gone:
            lines.append(f"{Path(path).relative_to(CHECKOUT)}: {', '.join(map(str, gone))}")
    return lines


def write(path: Path, column: str, head: str, packages: dict[str, Counter[str]]) -> str:
    """Write a column of the table in a file, leave its other columns, and return the table."""
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
    listed = "\n".join(f"- {name}: {what}" for name, what in heads.items())
    path.write_text(
        f"# Coverage of the tests\n\nCovered lines and branches of all, by package.\n\n{listed}\n\n{table}\n", "utf-8"
    )
    return table


def _share(covered: int, count: int) -> str:
    return f"{covered:,} of {count:,}, {100 * covered / count:.1f}%" if count else "none"


def main(arguments: Sequence[str]) -> None:
    """Measure the tests, or read data files, and write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks coverage", description=__doc__)
    parser.add_argument("--column", default="now", help="name of the columns to fill")
    parser.add_argument("--data", type=Path, help="directory of existing data files; no test is run")
    parser.add_argument("--commit", default=_commit(), help="commit of the tests that --data measured")
    parser.add_argument("--out", type=Path, default=RESULT, help="the table to extend")
    parser.add_argument("--against", type=Path, help="combined data of other tests; lists the lines that are lost")
    parser.add_argument("tests", nargs="*", default=[], help="pytest's arguments; default: all tests")
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
