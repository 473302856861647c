"""Registry of the metric groups.

A new group needs a module with a ``GROUP``, an entry here, and its names in packages without torch: ``MetricGroup`` in
``study/config.py`` and its columns with their units in ``storage/schema.py``.
"""

from __future__ import annotations

from nllgen.metrics import (
    critic,
    divergence,
    frechet,
    frechet_infinity,
    kid,
    likelihood,
    memorisation,
    numerics,
    pareto,
    prdc,
    resampling,
)
from nllgen.metrics.metric_group import MetricGroup

GROUPS: dict[str, MetricGroup] = {
    module.GROUP.name: module.GROUP
    for module in (
        likelihood,
        divergence,
        pareto,
        frechet,
        frechet_infinity,
        kid,
        prdc,
        memorisation,
        critic,
        resampling,
        numerics,
    )
}
