"""How the tests are spread over processes, and which of them are quick.

``tests/measured.json`` has for each file the seconds of its tests and fixtures and the processes that they started, as
``pytest --measure tests/measured.json`` wrote them. The longest files start first, so that processes end at about the
same time; ``--quick`` takes the files that are short and start no process.
"""

from __future__ import annotations

import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

MEASURED = Path(__file__).with_name("measured.json")
QUICK_S = 4.0  # a file that takes longer is not quick
_STARTS = "num_processes"
_started = 0


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("nllgen")
    group.addoption("--quick", action="store_true", help="only files that are short and start no process")
    group.addoption("--measure", metavar="FILE", help="write the seconds and processes of each file")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: the process that has the cluster's tests mostly waits."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """One process has the tests of one file, and all that use the one devcluster."""
    from xdist.scheduler import LoadFileScheduling

    class OneCluster(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return scope_of(nodeid)

    return OneCluster(config, log)


def scope_of(nodeid: str) -> str:
    """What is run in one process: a file, the tests on the devcluster, or those of the one container image."""
    file = nodeid.partition("::")[0]
    if file.startswith("tests/cluster/") or file == "tests/container/test_jobs.py":
        return "cluster"
    return "container" if file.startswith("tests/container/") else file


def measured() -> dict[str, dict[str, float]]:
    """What is known of each file; nothing where it was never measured."""
    return json.loads(MEASURED.read_text()) if MEASURED.exists() else {}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    known = measured()
    if config.getoption("--quick"):
        quick = [item for item in items if is_quick(item, known)]
        config.hook.pytest_deselected(items=[item for item in items if item not in set(quick)])
        items[:] = quick
    seconds: dict[str, float] = defaultdict(float)
    for file, found in known.items():
        seconds[scope_of(file)] += found["seconds"]
    items.sort(key=lambda item: -seconds[scope_of(item.nodeid)])  # stable: a file's own order stays


def is_quick(item: pytest.Item, known: dict[str, dict[str, float]]) -> bool:
    """Whether the file of a test is short and starts no process; one that nobody has measured is taken."""
    found = known.get(item.nodeid.partition("::")[0], {"seconds": 0.0, _STARTS: 0})
    marked = any(item.get_closest_marker(name) for name in ("slow", "cluster", "container", "gpu"))
    return not marked and found["seconds"] <= QUICK_S and not found[_STARTS]


def _count(event: str, arguments: tuple[Any, ...]) -> None:
    global _started
    if event in ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn"):
        _started += 1


sys.addaudithook(_count)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    before = _started
    item.user_properties.append((_STARTS, lambda: _started - before))
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Put the number of processes into a test's report; a fixture's count with the test that needs it first."""
    report = yield
    report.user_properties = [(name, value() if callable(value) else value) for name, value in report.user_properties]
    return report


class Measuring:
    """Adds up what the reports of all processes tell."""

    def __init__(self, path: Path):
        self.path = path
        self.files: dict[str, dict[str, float]] = defaultdict(lambda: {"seconds": 0.0, "setup": 0.0, _STARTS: 0})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        found = self.files[report.nodeid.partition("::")[0]]
        found["seconds"] += report.duration
        found["setup"] += report.duration if report.when == "setup" else 0.0
        if report.when == "teardown":
            found[_STARTS] += dict(report.user_properties)[_STARTS]

    def pytest_sessionfinish(self) -> None:
        rounded = {
            file: {name: round(value, 1) if name != _STARTS else int(value) for name, value in found.items()}
            for file, found in sorted(self.files.items())
        }
        self.path.write_text(json.dumps(rounded, indent=1) + "\n")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--measure") and not os.environ.get("PYTEST_XDIST_WORKER"):
        config.pluginmanager.register(Measuring(Path(config.getoption("--measure"))))
