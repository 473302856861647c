"""A figure as an SVG element of the page, whose colours follow the page's scheme.

Matplotlib writes each colour as ``#rrggbb``. Here it becomes a custom property with that colour as its fallback, so
that a page without the property shows the figure as it was drawn, and a dark page gives the property another value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from nllgen_analysis.figures.style import render

# --ink and --card of report.css in the dark scheme
DARK_INK, DARK_PAPER = "#e4e6e9", "#1e2125"
BLACK = "#000000"
MIN_CONTRAST = 3.5  # WCAG 2.2, 1.4.11, wants 3 of graphical objects; many lines here are thin
_LIGHTER = 0.05  # share of white that a step adds to a colour
_NEUTRAL = 0.02  # largest distance of two channels of a grey

_HEAD = re.compile(r"<\?xml.*?(?=<svg)|<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>", re.DOTALL)
_GLYPH = re.compile(r'<path id="([^"]+)" (d="[^"]*" transform="scale\(0\.015625\)")/>')
_COLOUR = re.compile(r"(fill|stroke): (#[0-9a-f]{6})")
_GROUP_ID = re.compile(r'<g id="[^"]*"')
_SIZE = re.compile(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>')
_REFERENCES = re.compile(r'( id="|"#|url\(#)([^")]+)')


@dataclass(frozen=True)
class Vector:
    """A figure as markup, with what all figures of a page share: the shapes of letters, and colours."""

    markup: str
    glyphs: dict[str, str]  # id → the attributes of its path
    colours: frozenset[str]


def to_vector(figure: Figure, name: str) -> Vector:
    """Return a figure as one SVG element; ``name`` makes the ids within it unique on the page."""
    text = _HEAD.sub("", render(figure, "svg").decode())
    glyphs = dict(_GLYPH.findall(text))
    text = re.sub(r">\s+<", "><", _GLYPH.sub("", text)).replace("<defs></defs>", "").replace("\n", " ").strip()
    text = _GROUP_ID.sub("<g", text)
    text = _SIZE.sub(r'<svg class="drawn" viewBox="\1" role="img">', text, count=1)
    text = _REFERENCES.sub(lambda match: match[1] + (match[2] if match[2] in glyphs else f"{name}-{match[2]}"), text)
    # black faces have no colour of their own: they have that of ``.drawn`` in report.css
    colours = frozenset({BLACK, *(colour for _, colour in _COLOUR.findall(text))})
    return Vector(_COLOUR.sub(lambda match: f"{match[1]}:{property_of(match[2])}", text), glyphs, colours)


def glyph_sheet(vectors: Iterable[Vector]) -> str:
    """Return one hidden SVG element with the letters of all figures."""
    glyphs = {id: path for vector in vectors for id, path in vector.glyphs.items()}
    paths = "".join(f'<path id="{id}" {path}/>' for id, path in sorted(glyphs.items()))
    return f'<svg width="0" height="0" aria-hidden="true" class="glyphs"><defs>{paths}</defs></svg>'


def property_of(colour: str) -> str:
    """Return the custom property of a colour, with the colour itself where a page does not set it."""
    colour = to_hex(colour)
    return f"var(--c{colour[1:]},{colour})"


def dark_properties(colours: Iterable[str]) -> str:
    """Return the declarations that a dark page needs for these colours."""
    return " ".join(f"--c{to_hex(colour)[1:]}: {dark_colour(colour)};" for colour in sorted(set(colours)))


def dark_colour(colour: str) -> str:
    """Return the colour that stands for another one on a dark page.

    Greys keep their distance between paper and ink, which are exchanged. Other colours stay what they are, since they
    name a degree or a paradigm; those that are too dark to be seen become lighter.
    """
    red, green, blue = to_rgb(colour)
    if max(red, green, blue) - min(red, green, blue) <= _NEUTRAL:
        return _mixed(DARK_INK, DARK_PAPER, green)
    share, shown = 0.0, to_hex(colour)
    while contrast(shown, DARK_PAPER) < MIN_CONTRAST:
        share += _LIGHTER
        shown = _mixed(colour, "#ffffff", share)
    return shown


def contrast(first: str, second: str) -> float:
    """Return the contrast of two colours by WCAG 2, between 1 and 21."""
    low, high = sorted((_luminance(first), _luminance(second)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def _mixed(first: str, second: str, share: float) -> str:
    """Return a colour with a share of the second one."""
    red, green, blue = (
        (1 - share) * one + share * other for one, other in zip(to_rgb(first), to_rgb(second), strict=True)
    )
    return to_hex((red, green, blue))
