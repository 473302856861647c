"""Captions: text in which a number may name the cells behind it, written as ``⟦number|id id⟧``.

One mark in plain strings, so that sentences are joined as any others; the page makes links of it, a text file notes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_CITED = re.compile(r"⟦([^⟦⟧|]*)\|([^⟦⟧|]*)⟧")
_MARKS = str.maketrans({"⟦": "[", "⟧": "]", "|": "/"})


def cite(text: str, cells: Iterable[str]) -> str:
    """The text with the ids of the cells behind it; the text alone where there are none."""
    ids = " ".join(dict.fromkeys(str(cell) for cell in cells))
    return f"⟦{text.translate(_MARKS)}|{ids}⟧" if ids else text


def spans(caption: str) -> list[tuple[str, tuple[str, ...]]]:
    """A caption in pieces, each with its cells; most have none."""
    pieces: list[tuple[str, tuple[str, ...]]] = []
    end = 0
    for found in _CITED.finditer(caption):
        pieces += [(caption[end : found.start()], ()), (found[1], tuple(found[2].split()))]
        end = found.end()
    pieces.append((caption[end:], ()))
    return [piece for piece in pieces if piece[0]]


def plain(caption: str) -> str:
    """Without the cells."""
    return "".join(text for text, _ in spans(caption))


def with_notes(caption: str) -> str:
    """For a text file: ``[1]`` after a number, and the ids of each note in a line below."""
    numbers: dict[tuple[str, ...], int] = {}
    text = "".join(
        f"{piece} [{numbers.setdefault(cells, len(numbers) + 1)}]" if cells else piece
        for piece, cells in spans(caption)
    )
    notes = "".join(f"[{rank}] {' '.join(cells)}\n" for cells, rank in numbers.items())
    return f"{text}\n" + (f"\nCells behind the numbers:\n{notes}" if notes else "")
