"""Captions: text in which a number may cite the cells behind it, written as ``⟦number|id id⟧``.

The marks stand in plain strings, so that sentences are joined as usual. The report turns them into links, a text file
into notes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_CITED = re.compile(r"⟦([^⟦⟧|]*)\|([^⟦⟧|]*)⟧")
_MARKS = str.maketrans({"⟦": "[", "⟧": "]", "|": "/"})


def cite(text: str, cells: Iterable[str]) -> str:
    """Mark a text with the ids of the cells behind it; without cells it stays as it is."""
    ids = " ".join(dict.fromkeys(str(cell) for cell in cells))
    return f"⟦{text.translate(_MARKS)}|{ids}⟧" if ids else text


def spans(caption: str) -> list[tuple[str, tuple[str, ...]]]:
    """Split a caption into pieces of text, each with the ids of its cells or none."""
    pieces: list[tuple[str, tuple[str, ...]]] = []
    end = 0
    for match in _CITED.finditer(caption):
        pieces += [(caption[end : match.start()], ()), (match[1], tuple(match[2].split()))]
        end = match.end()
    pieces.append((caption[end:], ()))
    return [piece for piece in pieces if piece[0]]


def plain(caption: str) -> str:
    """Return a caption without its marks."""
    return "".join(text for text, _ in spans(caption))


def with_notes(caption: str) -> str:
    """Return a caption for a text file: ``[1]`` after a number, and a line per note with the ids of its cells."""
    numbers: dict[tuple[str, ...], int] = {}
    text = "".join(
        f"{piece} [{numbers.setdefault(cells, len(numbers) + 1)}]" if cells else piece
        for piece, cells in spans(caption)
    )
    notes = "".join(f"[{rank}] {' '.join(cells)}\n" for cells, rank in numbers.items())
    return f"{text}\n" + (f"\nCells behind the numbers:\n{notes}" if notes else "")
