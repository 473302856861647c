"""The pages of the documentation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
PAGES = [*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").rglob("*.md")]
TUTORIAL = CHECKOUT / "docs" / "tutorial.md"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> Iterator[str]:
    """Yield the fenced blocks of a page in a language: none for a shell, ``py`` for a script with arguments."""
    return (body for name, body in FENCE.findall(page.read_text("utf-8")) if name == language)
