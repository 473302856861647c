"""The pages of the documentation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
DOCS = CHECKOUT / "docs"
PAGES = sorted([*CHECKOUT.glob("*.md"), *(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)])
TUTORIAL = DOCS / "tutorial.md"
SCORE = DOCS / "score.md"
NEW_PARADIGM = DOCS / "new-paradigm.md"
FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> Iterator[str]:
    """Yield the fenced blocks of a page in a language: none for a shell, ``py`` for a script with arguments."""
    return (body for name, body in FENCE.findall(page.read_text("utf-8")) if name == language)
