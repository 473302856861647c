"""A page in a browser: what it has logged, and the size and colours of its screen."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selenium.webdriver import Chrome


def log_of(page: Chrome, kind: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = page.get_log(kind)  # type: ignore[no-untyped-call]  # selenium has no types here
    return entries


@contextlib.contextmanager
def screen(page: Chrome, width: int, height: int = 1000, scheme: str = "light") -> Iterator[None]:
    """Give the page a size and a colour scheme, and take them back."""
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
        "width": width, "height": height, "deviceScaleFactor": 1, "mobile": False,
    })  # fmt: skip
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    try:
        yield
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
