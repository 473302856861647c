"""From values by seed to supported, refuted or undecided: intervals against thresholds, and how parts combine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from nllgen_analysis.statistics import mean_interval
from nllgen_analysis.text import number

Outcome = Literal["supported", "refuted", "undecided"]
Sense = Literal["above", "below"]
NAN = float("nan")
MAX_TOLD = 4  # parts in a sentence; all of them are in the table


@dataclass(frozen=True)
class Sample:
    """One number a seed.

    Attributes:
        values: finite ones.
        num_planned: seeds that the study has.
        cells: ids of every cell that was asked, also of those without a value.
        lost: why each of the other seeds has none.
    """

    values: tuple[float, ...]
    num_planned: int
    cells: tuple[str, ...]
    lost: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """A verdict on one comparison, or on several together.

    Attributes:
        label: what is compared.
        verdict: ``supported``, ``refuted`` or ``undecided``.
        effect, low, high: mean over seeds and its t interval; NaN where there is none.
        unit: of these.
        threshold: that the interval is held against.
        sense: on which side of it the claim is.
        confidence: of the interval.
        num_seeds: behind the interval.
        cells: ids behind it.
        why: the verdict in words.
        parts: that it was put together from.
    """

    label: str
    verdict: Outcome
    why: str
    effect: float = NAN
    low: float = NAN
    high: float = NAN
    unit: str = "1"
    threshold: float = 0.0
    sense: Sense = "above"
    confidence: float = NAN
    num_seeds: int = 0
    cells: tuple[str, ...] = ()
    parts: tuple[Finding, ...] = ()

    @property
    def clearance(self) -> float:
        """How far the interval lies on the claim's side of the threshold; negative where it reaches across."""
        return self.low - self.threshold if self.sense == "above" else self.threshold - self.high

    @property
    def opposition(self) -> float:
        """How far it lies on the other side."""
        return self.threshold - self.high if self.sense == "above" else self.low - self.threshold


@dataclass(frozen=True)
class Verdict:
    """A claim, the rule it was judged by, and what came out."""

    id: str
    statement: str
    rule: str
    finding: Finding
    subclaims: tuple[Verdict, ...] = field(default=())


def compare(
    label: str,
    sample: Sample,
    *,
    confidence: float,
    min_seeds: int,
    threshold: float = 0.0,
    sense: Sense = "above",
    unit: str = "nats",
) -> Finding:
    """Hold the t interval of a mean over seeds against a threshold.

    The claim is that the mean lies above it (``sense`` above) or at or below it (below). The whole interval on one side
    decides; an interval of no width that lies on the threshold is not above it.
    """
    found = mean_interval(sample.values, confidence)
    made = Finding(
        label, "undecided", "", found.mean, found.low, found.high, unit, threshold, sense, confidence,
        found.num_seeds, sample.cells,
    )  # fmt: skip
    if found.num_seeds < min_seeds:
        return replace(made, why=_too_few(sample, min_seeds))
    limits = f"{number(found.low)} … {number(found.high)} {unit}".removesuffix(" 1")
    if found.low > threshold:
        side, verdict = "above", "supported" if sense == "above" else "refuted"
    elif found.high <= threshold:
        side, verdict = "at or below", "refuted" if sense == "above" else "supported"
    else:
        return replace(made, why=f"the interval {limits} reaches across {number(threshold)}{_lost(sample)}")
    why = f"the interval {limits} lies {side} {number(threshold)}{_lost(sample)}"
    return replace(made, verdict=verdict, why=why)  # type: ignore[arg-type]


def undecided(label: str, why: str, cells: Sequence[str] = ()) -> Finding:
    """Nothing to judge by."""
    return Finding(label, "undecided", why, cells=tuple(cells))


def all_of(label: str, parts: Sequence[Finding]) -> Finding:
    """Supported if all parts are, refuted if one is; shows the part that stands weakest, or speaks most against it."""
    refuted = [part for part in parts if part.verdict == "refuted"]
    open_ = [part for part in parts if part.verdict == "undecided"]
    if refuted:
        return _together(label, "refuted", parts, max(refuted, key=lambda part: part.opposition), refuted)
    if open_ or not parts:
        return _together(label, "undecided", parts, _first_shown(open_), open_)
    return _together(label, "supported", parts, min(parts, key=lambda part: part.clearance), ())


def any_of(label: str, parts: Sequence[Finding]) -> Finding:
    """Supported if one part is, refuted if all are; shows the part that speaks most for it, or stands closest to it."""
    supported = [part for part in parts if part.verdict == "supported"]
    open_ = [part for part in parts if part.verdict == "undecided"]
    if supported:
        return _together(label, "supported", parts, max(supported, key=lambda part: part.clearance), supported)
    if open_ or not parts:
        return _together(label, "undecided", parts, _first_shown(open_), open_)
    return _together(label, "refuted", parts, min(parts, key=lambda part: part.opposition), ())


def agreement(
    label: str, settings: Sequence[Finding], skipped: Sequence[str], needs: str, among: str = "settings"
) -> Finding:
    """What all settings say; undecided where they do not say the same, or where there is none.

    Args:
        label: of the whole.
        settings: one finding a setting that was judged.
        skipped: settings that were not, with the reason.
        needs: what a setting has to have, told where there is none.
        among: what the settings are, in the plural.
    """
    left_out = f"; not judged: {'; '.join(skipped)}" if skipped else ""
    if not settings:
        return undecided(label, f"none of the {among} of this study can be judged: it needs {needs}{left_out}")
    if len(settings) == 1:
        only = settings[0]
        return replace(only, label=label, why=f"{only.label}: {only.why}{left_out}", parts=only.parts or (only,))
    verdicts = {setting.verdict for setting in settings}
    if len(verdicts) > 1:
        told = "; ".join(f"{setting.label}: {setting.verdict}" for setting in settings)
        made = _together(label, "undecided", settings, None, ())
        return replace(made, why=f"it depends on the {among}: {told}{left_out}")
    shown = _telling(settings)
    why = f"the same in all {len(settings)} {among}; least clearly for {shown.label}: {shown.why}{left_out}"
    return replace(_together(label, shown.verdict, settings, shown, ()), why=why)


def _telling(settings: Sequence[Finding]) -> Finding:
    """Of findings with one verdict the one that is nearest to another."""
    if settings[0].verdict == "supported":
        return min(settings, key=lambda setting: setting.clearance)
    if settings[0].verdict == "refuted":
        return min(settings, key=lambda setting: setting.opposition)
    return _first_shown(settings) or settings[0]


def _together(
    label: str, verdict: Outcome, parts: Sequence[Finding], shown: Finding | None, reasons: Sequence[Finding]
) -> Finding:
    cells = tuple(dict.fromkeys(cell for part in parts for cell in part.cells))
    told = [f"{part.label}: {part.why}" for part in reasons[:MAX_TOLD]]
    more = [f"and {len(reasons) - MAX_TOLD} more"] if len(reasons) > MAX_TOLD else []
    why = "; ".join([*told, *more]) or _shown_text(shown)
    if shown is None:
        return Finding(label, verdict, why, cells=cells, parts=tuple(parts))
    return replace(shown, label=label, verdict=verdict, why=why, cells=cells, parts=tuple(parts))


def _first_shown(parts: Sequence[Finding]) -> Finding | None:
    return next((part for part in parts if math.isfinite(part.effect)), None)


def _shown_text(shown: Finding | None) -> str:
    return "there is nothing to compare" if shown is None else f"the closest is {shown.label}: {shown.why}"


def _too_few(sample: Sample, min_seeds: int) -> str:
    have = f"{len(sample.values)} of {sample.num_planned} planned seeds have a value, {min_seeds} are needed"
    return f"{have}{_lost(sample)}"


def _lost(sample: Sample) -> str:
    return f" ({'; '.join(sample.lost)})" if sample.lost else ""
