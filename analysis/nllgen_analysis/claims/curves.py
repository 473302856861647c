"""Numbers of training curves: shapes, the gain that is lost again, the time of progress."""

from __future__ import annotations

import numpy as np
import pandas as pd

from nllgen_analysis.claims.verdict import NAN


def normalised(curve: pd.Series) -> pd.Series:
    """Return (L − L_end) / (L_0 − L_end), empty unless the start is above the end."""
    if len(curve) < 2 or not curve.iloc[0] > curve.iloc[-1]:
        return pd.Series(dtype=float)
    return (curve - curve.iloc[-1]) / (curve.iloc[0] - curve.iloc[-1])


def curve_distance(first: pd.Series, second: pd.Series, min_evaluations: int) -> float:
    """Return the largest distance at the steps that both curves have, NaN if those are too few."""
    common = first.index.intersection(second.index)
    if len(common) < min_evaluations:
        return NAN
    return float(np.abs(first.loc[common] - second.loc[common]).max())


def harm(curve: pd.Series, min_evaluations: int) -> float:
    """Return (end − best) / (start − best), the share of the gain that is lost again; NaN if nothing was gained."""
    if len(curve) < min_evaluations:
        return NAN
    best = curve.min()
    gain = float(curve.iloc[0] - best)
    return float(curve.iloc[-1] - best) / gain if gain > 0 else NAN


def step_of_progress(curve: pd.Series, progress: float) -> float:
    """Return the step at which a curve has made a share of its whole improvement; NaN if it does not fall."""
    shape = normalised(curve)
    reached = shape[shape <= 1 - progress]
    return float(reached.index[0]) if len(reached) else NAN
