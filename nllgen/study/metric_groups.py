"""Names of the groups of metrics, and other names that they are known by. Help shows them: it imports nothing else."""

from __future__ import annotations

from typing import Literal, get_args

MetricGroup = Literal[
    "divergence",
    "pareto",
    "frechet",
    "frechet_inf",
    "kid",
    "prdc",
    "memorisation",
    "fld",
    "pr_curve",
    "critic",
    "resampling",
    "numerics",
]  # beside likelihood, which is always measured

ExtractorName = Literal["lenet", "inception"]  # of the features that metrics of images compare
EXTRACTORS: tuple[ExtractorName, ...] = get_args(ExtractorName)
NUM_PR_POINTS = 9  # of a precision–recall curve
METRIC_GROUPS: tuple[MetricGroup, ...] = get_args(MetricGroup)
# Without groups that came later: a study that was submitted before them has to be what it was.
DEFAULT_FINAL = tuple(group for group in METRIC_GROUPS if group != "pr_curve")
OTHER_NAMES: dict[str, MetricGroup] = {"fid": "frechet"}


def group_name(word: str) -> str:
    """Return the name of the group that a word stands for: ``frechet`` for ``fid``; other words stay as they are."""
    return OTHER_NAMES.get(word.lower(), word)
