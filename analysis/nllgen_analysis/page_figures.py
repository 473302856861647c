"""A figure on the page: drawn as SVG, a short caption, its numbers as a table, its curves to look into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from nllgen_analysis.figure_numbers import figure_numbers
from nllgen_analysis.figures.style import COLUMN_IN, Drawn
from nllgen_analysis.figures.vector import Vector, to_vector
from nllgen_analysis.page_curves import curves_json
from nllgen_analysis.page_tables import Table
from nllgen_analysis.text import lead, plain, spans

LEAD_CHARACTERS = 300  # of a caption: three lines of the page
# beginnings of names, the most telling figure first; it stands at the head of the page
STRONGEST = ("nash", "kl_capacity", "kl_sample_size", "divergences", "frechet_", "nll_curves")
FILES = ("pdf", "png", "csv", "txt")


@dataclass(frozen=True)
class PageFigure:
    """A figure with everything that the page shows of it."""

    name: str
    title: str
    drawn: Vector
    is_column: bool  # as wide as a column of a paper: its numbers stand beside it
    lead: str
    notes: list[tuple[str, tuple[str, ...]]]  # the whole caption in pieces; empty if ``lead`` says all of it
    numbers: Table
    curves: Markup  # JSON, empty for a figure without curves
    cell_ids: list[str]

    @property
    def markup(self) -> Markup:
        """Return the SVG element, which holds no text of the study: its letters are drawn as shapes."""
        return Markup(self.drawn.markup)


def page_figure(drawn: Drawn) -> PageFigure:
    """Return a figure for the page."""
    short = lead(drawn.caption, LEAD_CHARACTERS)
    return PageFigure(
        name=drawn.name,
        title=drawn.title,
        drawn=to_vector(drawn.figure, drawn.name),
        is_column=drawn.figure.get_figwidth() <= COLUMN_IN,
        lead=short,
        notes=[] if short == plain(drawn.caption).strip() else spans(drawn.caption),
        numbers=figure_numbers(drawn),
        curves=curves_json(drawn),
        cell_ids=drawn.cell_ids,
    )


def strongest_first(figures: Sequence[PageFigure]) -> list[PageFigure]:
    """Return the figures with the one that says most at the head, the others in their order."""
    ranked = sorted(figures, key=lambda figure: _place(figure.name))  # stable
    return [*ranked[:1], *(figure for figure in figures if figure is not ranked[0])]


def _place(name: str) -> int:
    return next((place for place, start in enumerate(STRONGEST) if name.startswith(start)), len(STRONGEST))
