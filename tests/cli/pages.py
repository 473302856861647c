"""The pages of the documentation."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

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


GENERATED = ["commands.md", "keys.md", "schema.md", "frames.md"]


@cache
def generated() -> dict[str, str]:
    """Return the pages of docs/generate.py."""
    pages = load_generator().pages()
    assert isinstance(pages, dict)
    return pages


@cache
def load_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
