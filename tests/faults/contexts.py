"""A plugin of pytest that tells coverage which test runs, in this process and in those that it starts."""

from __future__ import annotations

import os

import pytest
from coverage import Coverage


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    os.environ["COVERAGE_TEST"] = item.nodeid.replace(",", ";")  # a comma ends a value in coverage's settings
    if (current := Coverage.current()) is not None:
        current.switch_context(item.nodeid)


def pytest_sessionfinish() -> None:
    """Save at once: a process of xdist ends without its exit handlers."""
    if (current := Coverage.current()) is not None:
        current.stop()
        current.save()
