"""Registry of the metric groups.

A new group needs an entry here, and its names in packages without torch: ``MetricGroup`` in
``study/metric_groups.py`` and its columns with their units in ``storage/schema.py``.
"""

from __future__ import annotations

from nllgen.metrics import critic, fld, frechet, frechet_infinity, kid, memorisation, pareto, pr_curve, prdc, resampling
from nllgen.metrics.densities import DIVERGENCE, LIKELIHOOD, NUMERICS
from nllgen.metrics.metric_group import MetricGroup

_FEATURES = (frechet, frechet_infinity, kid, prdc, memorisation, fld, pr_curve, critic, resampling)
_GROUPS = (LIKELIHOOD, DIVERGENCE, pareto.GROUP, *(module.GROUP for module in _FEATURES), NUMERICS)
GROUPS: dict[str, MetricGroup] = {group.name: group for group in _GROUPS}
