"""From values by seed to supported, refuted or undecided: intervals against thresholds, and combinations of parts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal

from nllgen_analysis.statistics import mean_interval, sign_p_value, t_p_value
from nllgen_analysis.text import number

Outcome = Literal["supported", "refuted", "undecided"]
Sense = Literal["above", "below"]
NAN = float("nan")
MAX_REASONS = 4  # parts in a sentence; the table has all of them


class Qualifier(StrEnum):
    """A limit of a verdict."""

    LATE_TRAINING = "by late training alone"  # holds for the last weights, not at the best validation step


@dataclass(frozen=True)
class Sample:
    """One number per seed; a seed beyond any number counts by its side."""

    values: tuple[float, ...]  # finite ones
    num_planned: int  # seeds of the study
    cells: tuple[str, ...]  # ids of all cells, also of those without a value
    lost: tuple[str, ...] = ()  # reason for each seed without a value
    num_above: int = 0  # seeds whose value is +∞, as where the first of two runs diverged
    num_below: int = 0  # −∞


@dataclass(frozen=True)
class Finding:
    """A verdict on one comparison, or on several together."""

    label: str  # names the comparison
    verdict: Outcome
    why: str
    effect: float = NAN  # mean over seeds with its t interval, NaN if there is none
    low: float = NAN
    high: float = NAN
    unit: str = "1"  # of these three
    threshold: float = 0.0  # the interval is compared with it
    sense: Sense = "above"  # side of the threshold that the claim is on
    confidence: float = NAN
    num_seeds: int = 0
    cells: tuple[str, ...] = ()
    parts: tuple[Finding, ...] = ()  # findings that this one combines
    p_value: float = NAN  # two-sided, of the comparison with the threshold, times the number of parts that share it
    qualifier: Qualifier | None = None

    @property
    def text(self) -> str:
        """Return the verdict with its qualifier."""
        return f"{self.verdict} {self.qualifier}" if self.qualifier else self.verdict

    @property
    def clearance(self) -> float:
        """Return the distance of the interval from the threshold on the claim's side, negative if it reaches across."""
        return self.low - self.threshold if self.sense == "above" else self.threshold - self.high

    @property
    def opposition(self) -> float:
        """Return the distance of the interval from the threshold on the other side."""
        return self.threshold - self.high if self.sense == "above" else self.low - self.threshold


@dataclass(frozen=True)
class Verdict:
    """A claim, its rule and the finding."""

    id: str
    statement: str
    rule: str
    finding: Finding
    subclaims: tuple[Verdict, ...] = field(default=())
    p_holm: float = NAN  # the finding's p-value, corrected over the claims that are tested with it


def compare(
    label: str, sample: Sample, confidence: float, min_seeds: int, threshold: float, sense: Sense, unit: str,
    min_finished: int = 2,
) -> Finding:  # fmt: skip
    """Compare the t interval of a mean over seeds with a threshold.

    The claim is that the mean lies above it (``sense`` above) or at or below it (below). It is decided if the whole
    interval lies on one side. An interval of no width that lies on the threshold is not above it. Seeds beyond any
    number count as seeds; they make a verdict on the other side impossible, and decide by their signs where fewer than
    ``min_finished`` values are finite.
    """
    mean = mean_interval(sample.values, confidence)
    num_seeds = mean.num_seeds + sample.num_above + sample.num_below
    finding = Finding(
        label, "undecided", "", mean.mean, mean.low, mean.high, unit, threshold, sense, confidence, num_seeds,
        sample.cells,
    )  # fmt: skip
    lost = f" ({'; '.join(sample.lost)})" if sample.lost else ""
    if num_seeds < min_seeds:
        count = f"{num_seeds} of {sample.num_planned} planned seeds have a value, {min_seeds} are needed"
        return replace(finding, why=f"{count}{lost}")
    if mean.num_seeds < min_finished and sample.num_above + sample.num_below:
        return _by_signs(finding, sample, threshold, confidence, lost)
    finding = replace(finding, p_value=t_p_value(sample.values, threshold))
    limits = f"{number(mean.low)} … {number(mean.high)} {unit}".removesuffix(" 1")
    is_above, is_below = mean.low > threshold, mean.high <= threshold
    if not is_above and not is_below:
        return replace(finding, why=f"the interval {limits} reaches across {number(threshold)}{lost}")
    why = f"the interval {limits} lies {'above' if is_above else 'at or below'} {number(threshold)}"
    num_against = sample.num_below if is_above else sample.num_above
    if num_against:
        why = f"{why}, but {num_against} of {num_seeds} seeds are beyond any number on the other side"
        return replace(finding, why=f"{why}{lost}", p_value=1.0)
    return replace(finding, verdict=_outcome(is_above, sense), why=f"{why}{lost}")


def _outcome(is_above: bool, sense: Sense) -> Outcome:
    return "supported" if is_above == (sense == "above") else "refuted"


def _by_signs(finding: Finding, sample: Sample, threshold: float, confidence: float, lost: str) -> Finding:
    """Judge by the number of seeds on each side; an interval of the few finite values would say nothing."""
    num_above = sample.num_above + sum(value > threshold for value in sample.values)
    num_below = finding.num_seeds - num_above
    p_value = sign_p_value(max(num_above, num_below), finding.num_seeds)
    why = f"{num_above} of {finding.num_seeds} seeds are above {number(threshold)}, only {len(sample.values)} finite"
    verdict: Outcome = "undecided" if p_value > 1 - confidence else _outcome(num_above > num_below, finding.sense)
    finding = replace(finding, effect=NAN, low=NAN, high=NAN)
    return replace(finding, verdict=verdict, why=f"{why} (sign test){lost}", p_value=p_value)


def undecided(label: str, why: str, cells: Sequence[str] = ()) -> Finding:
    """Return a finding that has nothing to judge by."""
    return Finding(label, "undecided", why, cells=tuple(cells))


def all_of(label: str, parts: Sequence[Finding]) -> Finding:
    """Combine parts: supported if all are, refuted if one is."""
    return _combine(label, parts, "refuted", "supported")


def any_of(label: str, parts: Sequence[Finding]) -> Finding:
    """Combine parts: supported if one is, refuted if all are."""
    return _combine(label, parts, "supported", "refuted")


def _combine(label: str, parts: Sequence[Finding], deciding: Outcome, otherwise: Outcome) -> Finding:
    """Return the verdict that one part decides, or the other one if no part is undecided.

    The finding shows the part with the clearest deciding verdict, or the least clear of all.
    """
    decided = [part for part in parts if part.verdict == deciding]
    open_ = [part for part in parts if part.verdict == "undecided"]
    if decided:
        whole = _together(label, deciding, parts, max(decided, key=_clearness), decided)
        return replace(whole, p_value=min(part.p_value for part in decided))
    if open_ or not parts:
        whole = _together(label, "undecided", parts, _first_shown(open_), open_)
    else:
        whole = _together(label, otherwise, parts, min(parts, key=_clearness), ())
    return replace(whole, p_value=largest_p(parts))


def largest_p(parts: Sequence[Finding]) -> float:
    """Return the largest p-value, NaN if a part has none: all parts must hold."""
    values = [part.p_value for part in parts]
    return NAN if not values or any(map(math.isnan, values)) else max(values)


def _clearness(part: Finding) -> float:
    """Return the distance of a decided part's interval from the threshold."""
    return part.clearance if part.verdict == "supported" else part.opposition


def agreement(
    label: str, settings: Sequence[Finding], skipped: Sequence[str], needs: str, among: str = "settings"
) -> Finding:
    """Combine settings: undecided if there are none or their verdicts differ.

    ``skipped`` has the settings that were not judged with the reason, ``needs`` the requirements of a setting;
    ``among`` names the settings in the plural.
    """
    left_out = f"; not judged: {'; '.join(skipped)}" if skipped else ""
    if not settings:
        return undecided(label, f"none of the {among} of this study can be judged: it needs {needs}{left_out}")
    if len(settings) == 1:
        only = settings[0]
        return replace(only, label=label, why=f"{only.label}: {only.why}{left_out}", parts=only.parts or (only,))
    if len({setting.verdict for setting in settings}) > 1:
        verdicts = "; ".join(f"{setting.label}: {setting.verdict}" for setting in settings)
        whole = _together(label, "undecided", settings, None, ())
        return replace(whole, p_value=1.0, why=f"it depends on the {among}: {verdicts}{left_out}")
    is_open = settings[0].verdict == "undecided"
    shown = (_first_shown(settings) or settings[0]) if is_open else min(settings, key=_clearness)
    why = f"the same in all {len(settings)} {among}; least clearly for {shown.label}: {shown.why}{left_out}"
    whole = _together(label, shown.verdict, settings, shown, ())
    qualifier = next((setting.qualifier for setting in settings if setting.qualifier), None)
    return replace(whole, why=why, p_value=largest_p(settings), qualifier=qualifier)


def by_weights(label: str, last: Finding, best: Finding) -> Finding:
    """Combine what the last weights and those of the best validation step show.

    Supported at the last weights alone is supported by late training alone; any other disagreement is undecided.
    """
    parts = (replace(last, label="last weights"), replace(best, label="best validation step"))
    if last.verdict == best.verdict:
        shown = min(parts, key=_clearness) if last.verdict != "undecided" else _first_shown(parts)
        reasons = parts if last.verdict == "undecided" else ()
        return replace(_together(label, last.verdict, parts, shown, reasons), p_value=largest_p(parts))
    if last.verdict == "supported":
        whole = _together(label, "supported", parts, parts[0], parts)
        return replace(whole, p_value=last.p_value, qualifier=Qualifier.LATE_TRAINING)
    return replace(_together(label, "undecided", parts, parts[0], parts), p_value=1.0)


def _together(
    label: str, verdict: Outcome, parts: Sequence[Finding], shown: Finding | None, reasons: Sequence[Finding]
) -> Finding:
    """Return the numbers of one part with the label, verdict and cells of all; ``reasons`` are named in words."""
    cells = tuple(dict.fromkeys(cell for part in parts for cell in part.cells))
    texts = [f"{part.label}: {part.why}" for part in reasons[:MAX_REASONS]]
    more = [f"and {len(reasons) - MAX_REASONS} more"] if len(reasons) > MAX_REASONS else []
    closest = "there is nothing to compare" if shown is None else f"the closest is {shown.label}: {shown.why}"
    why = "; ".join([*texts, *more]) or closest
    if shown is None:
        return Finding(label, verdict, why, cells=cells, parts=tuple(parts))
    return replace(shown, label=label, verdict=verdict, why=why, cells=cells, parts=tuple(parts))


def _first_shown(parts: Sequence[Finding]) -> Finding | None:
    return next((part for part in parts if math.isfinite(part.effect)), None)
