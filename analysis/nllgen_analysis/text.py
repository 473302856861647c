"""Numbers and captions as text.

In a caption a number may cite the cells behind it, written as ``⟦number|id id⟧``. The marks stand in plain strings, so
that sentences are joined as usual. The report turns them into links, a text file into notes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

MINUS = "−"
# conditions of every interval over seeds
CONDITION = "conditional on the truth, where there is one, and on the images held out"
# of averages on logarithmic axes
GEOMETRIC = (
    "On a logarithmic axis the mean is geometric, with the interval of the logarithms, written (low … high); it has no "
    "place for values of 0 or less."
)
_CITED = re.compile(r"⟦([^⟦⟧|]*)\|([^⟦⟧|]*)⟧")
_SENTENCE = re.compile(r"(?<=\.)\s+(?=[^a-z])")
_MARKS = str.maketrans({"⟦": "[", "⟧": "]", "|": "/"})


def number(value: float, digits: int = 3) -> str:
    """Return a number with ``digits`` significant digits and thousands separators, a dash for NaN."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    plain = f",.{max(0, digits - 1 - size)}f" if -4 <= size < 7 else f".{digits - 1}e"
    return format(value, plain).replace("-", MINUS)


def counted(count: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless it is 1."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def plus_minus(mean: float, high: float) -> str:
    """Return ``mean ± half`` with digits by the half width, or the mean alone if there is no interval."""
    half = high - mean
    if not math.isfinite(mean) or not math.isfinite(half):
        return number(mean, 4)
    if half <= 0:
        return f"{number(mean, 4)} ± 0"
    decimals = 1 - math.floor(math.log10(half))
    if abs(mean) >= 1e7 or decimals > 5:
        return f"{number(mean, 4)} ± {number(half, 2)}"
    decimals = max(0, decimals)
    return f"{mean:,.{decimals}f} ± {half:,.{decimals}f}".replace("-", MINUS)


def estimate(mean: float, high: float, num_seeds: float) -> str:
    """Return ``plus_minus`` with the number of seeds; one seed has no interval."""
    if num_seeds == 1:
        return f"{number(mean, 4)} (one seed, no interval)"
    return f"{plus_minus(mean, high)} (n = {int(num_seeds)})"


def between(mean: float, low: float, high: float, num_seeds: float) -> str:
    """Return ``mean (low … high; n = 5)``, as an interval of logarithms is not symmetric."""
    if num_seeds == 1 or not math.isfinite(low):
        return estimate(mean, math.nan, num_seeds)
    return f"{number(mean)} ({number(low)} … {number(high)}; n = {int(num_seeds)})"


def listing(items: list[str], most: int = 12) -> str:
    """Join at most ``most`` items by semicolons and count the rest."""
    more = f"; and {len(items) - most} more in the CSV" if len(items) > most else ""
    return "; ".join(items[:most]) + more


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


def lead(caption: str, most: int) -> str:
    """Return the first sentences of a caption that cite no cells, as many as ``most`` characters hold."""
    head = caption.partition("⟦")[0]
    sentences = [text for text in _SENTENCE.split(head.strip()) if text.endswith(".")]
    kept = sentences[:1]
    for sentence in sentences[1:]:
        if len(" ".join([*kept, sentence])) > most:
            break
        kept.append(sentence)
    shown = " ".join(kept)
    if len(shown) <= most:
        return shown
    pieces = re.split(r"(?<=[;:,]) ", shown[: most + 1])[:-1]  # up to a mark of the one long sentence
    return f"{' '.join(pieces).rstrip(';:,') or shown[:most]} …"


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
