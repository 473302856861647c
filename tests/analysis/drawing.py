"""Access to figures and their lines with the types that tests expect."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.lines import Line2D
from nllgen_analysis.figures import Drawn, FigureResult, NotDrawn

Results = tuple[list[FigureResult], list[int], bool]


def as_drawn(results: Sequence[FigureResult], rank: int = 0) -> Drawn:
    result = results[rank]
    assert isinstance(result, Drawn), result
    return result


def as_not_drawn(results: Sequence[FigureResult], rank: int = 0) -> NotDrawn:
    result = results[rank]
    assert isinstance(result, NotDrawn), result
    return result


def named(results: Sequence[FigureResult], name: str) -> Drawn:
    return as_drawn([result for result in results if result.name == name])


def xs(line: Line2D) -> list[float]:
    return [float(value) for value in np.asarray(line.get_xdata(), float)]


def ys(line: Line2D) -> list[float]:
    return [float(value) for value in np.asarray(line.get_ydata(), float)]
