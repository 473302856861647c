"""The figures of a report, one module per family: from frames to figures with their data and captions."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from nllgen_analysis.figures.capacity import draw_capacity, draw_sample_size
from nllgen_analysis.figures.divergences import draw_divergences
from nllgen_analysis.figures.frechet import draw_frechet
from nllgen_analysis.figures.nash import draw_nash
from nllgen_analysis.figures.nll import draw_convergence, draw_nll, draw_overfit
from nllgen_analysis.figures.points import draw_cost, draw_plane, draw_scatter
from nllgen_analysis.figures.pr_curve import draw_pr_curve
from nllgen_analysis.figures.samples import draw_samples
from nllgen_analysis.figures.split import draw_split
from nllgen_analysis.figures.style import Drawn, FigureResult, NotDrawn, project_style, render
from nllgen_analysis.frames import Frames

Family = Callable[[Frames], list[FigureResult]]
FAMILIES: tuple[Family, ...] = (
    draw_nll, draw_convergence, draw_overfit, draw_capacity, draw_sample_size, draw_split, draw_divergences,
    draw_frechet, draw_pr_curve, draw_scatter, draw_plane, draw_cost, draw_nash, draw_samples,
)  # fmt: skip

__all__ = ["FAMILIES", "Drawn", "FigureResult", "NotDrawn", "draw_all", "draw_family", "project_style", "render"]


def draw_all(frames: Frames) -> Iterator[FigureResult]:
    """Yield the figures of every family in the report's order; one without data gives its reason."""
    for family in FAMILIES:
        yield from draw_family(family, frames)


def draw_family(family: Family, frames: Frames) -> list[FigureResult]:
    """Return the figures of one family."""
    with project_style():
        return family(frames)
