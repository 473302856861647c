"""The distribution of the tests over processes, and the choice of quick ones.

``tests/measured.json`` has for each file the seconds of its tests and fixtures and the number of processes that they
started; ``pytest --measure tests/measured.json`` writes it. The longest files start first, so that the processes end at
about the same time. ``--quick`` selects files that are short and start no process.
"""

from __future__ import annotations

import json
import os
import sys
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

MEASURED = Path(__file__).with_name("measured.json")
QUICK_S = 4.0  # a file that takes longer is not quick
_STARTS = "num_processes"
_CONTAINED_JOBS = ("tests/container/test_jobs.py", "tests/container/test_journey.py")
_started = 0


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("nllgen")
    group.addoption("--quick", action="store_true", help="only files that are short and start no process")
    group.addoption("--measure", metavar="FILE", help="write the seconds and processes of each file")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return the number of cores plus one, since the process with the cluster's tests mostly waits."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Return a scheduler that runs the tests of a file, and all tests on the devcluster, in one process each."""
    from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

    class OneCluster(LoadFileScheduling):  # type: ignore[misc]  # of an untyped package
        def _split_scope(self, nodeid: str) -> str:
            return scope_of(nodeid)

    return OneCluster(config, log)


def scope_of(nodeid: str) -> str:
    """Return the tests to run in one process: a file, all on the devcluster, or all of the one container."""
    file = nodeid.partition("::")[0]
    if file.startswith("tests/cluster/") or file in _CONTAINED_JOBS:
        return "cluster"
    return "container" if file.startswith("tests/container/") else file


def measured() -> dict[str, dict[str, float]]:
    """Return the measurements of each file; empty where none were made."""
    measurements: dict[str, dict[str, float]] = json.loads(MEASURED.read_text()) if MEASURED.exists() else {}
    return measurements


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    known = measured()
    if config.getoption("--quick"):
        quick = [item for item in items if is_quick(item, known)]
        config.hook.pytest_deselected(items=[item for item in items if item not in set(quick)])
        items[:] = quick
    seconds: dict[str, float] = defaultdict(float)
    for file, measurement in known.items():
        seconds[scope_of(file)] += measurement["seconds"]
    items.sort(key=lambda item: -seconds[scope_of(item.nodeid)])  # stable, so that the order within a file is kept


def is_quick(item: pytest.Item, known: dict[str, dict[str, float]]) -> bool:
    """Return whether the file of a test is short and starts no process; an unmeasured file counts as quick."""
    measurement = known.get(item.nodeid.partition("::")[0], {"seconds": 0.0, _STARTS: 0})
    marked = any(item.get_closest_marker(name) for name in ("slow", "cluster", "container", "gpu"))
    return not marked and measurement["seconds"] <= QUICK_S and not measurement[_STARTS]


def _count(event: str, arguments: tuple[Any, ...]) -> None:
    global _started
    if event in ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn"):
        _started += 1


sys.addaudithook(_count)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    before = _started
    item.user_properties.append((_STARTS, lambda: _started - before))
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the number of processes to a test's report; those of a fixture count for the first test that needs it."""
    report = yield
    report.user_properties = [(name, value() if callable(value) else value) for name, value in report.user_properties]
    return report


class Measuring:
    """Sums of the measurements in the reports of all processes."""

    def __init__(self, path: Path):
        self.path = path
        self.files: dict[str, dict[str, float]] = defaultdict(lambda: {"seconds": 0.0, "setup": 0.0, _STARTS: 0})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        sums = self.files[report.nodeid.partition("::")[0]]
        sums["seconds"] += report.duration
        sums["setup"] += report.duration if report.when == "setup" else 0.0
        if report.when == "teardown":
            sums[_STARTS] += float(str(dict(report.user_properties)[_STARTS]))

    def pytest_sessionfinish(self) -> None:
        rounded = {
            file: {name: round(value, 1) if name != _STARTS else int(value) for name, value in sums.items()}
            for file, sums in sorted(self.files.items())
        }
        self.path.write_text(json.dumps(rounded, indent=1) + "\n")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--measure") and not os.environ.get("PYTEST_XDIST_WORKER"):
        config.pluginmanager.register(Measuring(Path(config.getoption("--measure"))))
