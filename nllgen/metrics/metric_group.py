"""Metric groups: columns that are computed together, and their requirements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nllgen.metrics.measurement import Measurement, Need, Row


@dataclass(frozen=True)
class MetricGroup:
    """Metrics that are computed together.

    Attributes:
        name: in a study's ``metrics.every`` and ``metrics.final``, and in ``nllgen evaluate --metric``.
        columns: all columns that it may compute; ``val_`` in a name becomes ``test_`` on the test split.
        needs: requirements. If one is not met, the columns are absent, and NaN in files.
        measure: computes the columns of one model on one split.
    """

    name: str
    columns: tuple[str, ...]
    needs: frozenset[Need]
    measure: Callable[[Measurement], Row]
