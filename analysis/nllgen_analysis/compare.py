"""Two groups of cells side by side: means over seeds, and the difference or ratio of what belongs together."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from nllgen.errors import ConfigError
from nllgen.storage.schema import FINAL_COLUMNS
from nllgen.study.diagnostics import did_you_mean
from nllgen.study.metric_groups import group_name
from nllgen_analysis.cells_frame import settings_of
from nllgen_analysis.columns import SELECTABLE
from nllgen_analysis.figures.scales import scale_of
from nllgen_analysis.frames import Frames
from nllgen_analysis.statistics import Interval, exponential, mean_interval, paired, welch_interval
from nllgen_analysis.tables import MAIN_METRICS, NOT_METRICS

METRICS = tuple(name for name in FINAL_COLUMNS if name not in NOT_METRICS)
_IN_WORDS = ("student", "paradigm", "setting")
NO_PAIRS = "no seed is on both sides: an unpaired interval"
OTHER_TRUTHS = "other truths, so that seeds do not pair: an unpaired interval"


@dataclass(frozen=True)
class Side:
    """One of the two groups of cells: those of a study, or of them those with certain values."""

    name: str
    frames: Frames
    where: tuple[tuple[str, str], ...] = ()  # column → value

    def rows(self, weights: str) -> pd.DataFrame:
        """Return the final numbers of the cells, a row each, with a column for every setting.

        Raises:
            ConfigError: a column does not exist, or no cell has the values.
        """
        cells = self.frames.cells[self.frames.cells["role"] != "truth"]
        for column, value in self.where:
            cells = cells[_has_value(self.name, cells, column, value)]
        final = self.frames.final[self.frames.final["weights"] == weights].set_index("cell")
        rows = cells[["id", "seed", "truth_sha256", *_IN_WORDS]].join(final[[*METRICS]], how="inner")
        if rows.empty:
            raise ConfigError(
                f"{self.name} has no finished cell with {weights} weights ({self.frames.counts_text})",
                "compare others, or wait for its cells",
            )
        settings = pd.DataFrame([settings_of(self.frames.configs[row]) for row in rows.index], index=rows.index)
        return rows.join(settings.astype(object).drop(columns="data.truth_id"))


@dataclass(frozen=True)
class Comparison:
    """The comparison of two sides.

    Attributes:
        table: a row for each metric and group of cells that belong together: ``group``, ``metric``, ``unit``, ``scale``
            (log where the mean is geometric and the effect a ratio), for each side ``mean_a``, ``low_a``, ``high_a``,
            ``seeds_a`` (finite ones); ``effect`` (A − B or A / B), ``low``, ``high``, ``num_pairs``, ``note``.
        seeds: the values behind it: ``group``, ``metric``, ``side``, ``seed``, ``value``.
        unmatched: words for the groups of each side that the other lacks.
        differing: settings that A and B have no value of in common: what is compared.
    """

    table: pd.DataFrame
    seeds: pd.DataFrame
    unmatched: tuple[str, ...]
    differing: tuple[str, ...]


def compare(first: Side, second: Side, metrics: Sequence[str] = (), weights: str = "last") -> Comparison:
    """Compare two groups of cells by their final metrics on the test split.

    Cells belong together where they agree in all settings but those that the sides have no value of in common. Of
    these, the seeds that are on both sides are pairs.

    Args:
        first, second: the sides A and B.
        metrics: columns of ``final``; by default the main ones that both sides have.
        weights: ``last``, ``best`` or ``ema``.

    Raises:
        ConfigError: a metric does not exist, none was measured on both sides of a common group, the sides are the same,
            or nothing belongs together.
    """
    a, b = first.rows(weights), second.rows(weights)
    if first.frames is second.frames and set(a["id"]) == set(b["id"]):
        raise ConfigError(f"{first.name} and {second.name} are the same cells", "select others: STUDY:KEY=VALUE")
    settings = [*_IN_WORDS, *_settings(a, b)]
    differing = [name for name in settings if not set(_texts(a, name)) & set(_texts(b, name))]
    keys = [name for name in settings if not {name, _section(name)} & set(differing)]
    a, b = _grouped(a, b, keys)
    common = [group for group in a["group"].unique() if group in set(b["group"])]
    if not common:
        raise ConfigError(
            f"no cells of {first.name} and {second.name} agree in {', '.join(keys[:3])} and all else that both have",
            "compare groups that differ in less, such as STUDY:paradigm=nll and STUDY:paradigm=nsgan",
        )
    chosen = _measured(metrics, a, b)
    unmatched = [
        f"{side}: {group}"
        for side, rows in (("A", a), ("B", b))
        for group in rows["group"].unique()
        if group not in common
    ]
    own = {metric: [(group, _values(a, group, metric), _values(b, group, metric)) for group in common]
           for metric in chosen}  # fmt: skip
    parts = [
        {"group": group, "metric": metric, "unit": FINAL_COLUMNS[metric], **_compare_values(x, y)}
        for metric, groups in own.items()
        for group, x, y in groups
        if len(x) and len(y)
    ]
    seeds = pd.concat([_seeds(rows, side, chosen) for side, rows in (("A", a), ("B", b))], ignore_index=True)
    table = pd.DataFrame(parts)
    return Comparison(table, seeds[seeds["group"].isin(common)], tuple(unmatched), tuple(differing))


def _has_value(name: str, cells: pd.DataFrame, column: str, value: str) -> pd.Series:
    if column not in SELECTABLE:
        raise ConfigError(
            f"{name}: cells have no {column!r}{did_you_mean(column, SELECTABLE)}", f"one of {', '.join(SELECTABLE)}"
        )
    texts = cells[column].map(_text)
    if not (texts == _text(value)).any():
        known = ", ".join(sorted(texts.unique())) or "none"
        raise ConfigError(f"{name}: no cell has {column}={value}", f"{column} is one of {known}")
    return texts == _text(value)


def _text(value: object) -> str:
    """Return a value as it is compared: numbers by their value, so that 1e-3 is 0.001; empty for none."""
    try:
        number = float(value)  # type: ignore[arg-type]  # what is no number raises
    except (TypeError, ValueError):
        return "" if value is None else str(value)
    return "" if math.isnan(number) else f"{number:.12g}"


def _section(setting: str) -> str:
    """Return the word of a setting's section: where models differ, their widths are no reason not to compare them.

    The precision belongs to no section: where paradigms differ, cells of two precisions are still not alike.
    """
    if setting in (*_IN_WORDS, "precision"):
        return setting
    section = setting.rpartition(".")[0]
    return {"flow": "student", "options": "student", "data": "setting"}.get(section, "paradigm")


def _texts(rows: pd.DataFrame, column: str) -> pd.Series:
    return rows[column].map(_text) if column in rows else pd.Series("", index=rows.index, dtype=object)


def _settings(a: pd.DataFrame, b: pd.DataFrame) -> list[str]:
    known = {"id", "seed", "truth_sha256", "name", *_IN_WORDS, *METRICS}  # the name is the paradigm's
    return [str(column) for column in dict.fromkeys([*a.columns, *b.columns]) if column not in known]


def _metric_meant(word: str) -> str:
    """Suggest a column for a word of everyday use, such as ``fid`` or ``nll``, or the nearest column."""
    group = group_name(word).lower()
    column = next((name for name in METRICS if name.startswith((f"{group}_", f"test_{group}_"))), None)
    return f"; did you mean {column}?" if column else did_you_mean(word, METRICS)


def _measured(metrics: Sequence[str], a: pd.DataFrame, b: pd.DataFrame) -> list[str]:
    """Return the metrics to compare: those asked for, or the main ones, if both sides of a common group have them."""
    present = [name for name in METRICS if _groups_with(a, name) & _groups_with(b, name)]
    for name in metrics:
        if name not in METRICS:
            raise ConfigError(
                f"there is no metric {name!r}{_metric_meant(name)}",
                f"measured on both sides: {', '.join(present) or 'none'}",
            )
        if name not in present:
            raise ConfigError(
                f"{name} was not measured on both sides of a common group", f"measured: {', '.join(present) or 'none'}"
            )
    chosen = list(dict.fromkeys(metrics)) or [name for name in MAIN_METRICS if name in present]
    if not chosen:
        raise ConfigError(
            "no metric was measured on both sides of a common group",
            f"name others that were: {', '.join(present)}" if present else "compare others, or wait for their cells",
        )
    return chosen


def _groups_with(rows: pd.DataFrame, metric: str) -> set[str]:
    return set(rows.loc[rows[metric].notna(), "group"])


def _grouped(a: pd.DataFrame, b: pd.DataFrame, keys: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Add ``group``: what is common to the cells that belong together, in words, with the settings that vary beside."""
    both = pd.concat([pd.DataFrame({key: _texts(rows, key) for key in keys}) for rows in (a, b)], keys=("A", "B"))
    in_words = [key for key in keys if key in _IN_WORDS]
    words = both[in_words].agg(" · ".join, axis=1) if in_words else pd.Series("all cells", index=both.index)
    names = words.copy()
    for rows in words.groupby(words, sort=False).groups.values():
        part = both.loc[rows].drop(columns=in_words)
        for key in part.columns[part.nunique() > 1]:
            values = part[key]
            names.loc[rows] += values.map(lambda value, key=key: f" · {key}={value}" if value else "")
    return a.assign(group=names["A"]), b.assign(group=names["B"])


def _seeds(rows: pd.DataFrame, side: str, metrics: Sequence[str]) -> pd.DataFrame:
    long = rows.melt(["id", "group", "seed"], metrics, "metric", "value")
    return long.dropna(subset="value").assign(side=side)


def _values(rows: pd.DataFrame, group: str, metric: str) -> pd.DataFrame:
    """Return the cells of a group in which a metric was measured, infinite values included."""
    own = rows.loc[rows["group"] == group, ["id", "seed", "truth_sha256", metric]].rename(columns={metric: "value"})
    return own.dropna(subset="value").astype({"value": float})


def _compare_values(a: pd.DataFrame, b: pd.DataFrame) -> dict[str, Hashable]:
    """Compare the values of one group on both sides; positive ones that span decades by their logarithms."""
    is_log = scale_of([*a["value"], *b["value"]]) == "log"
    sides = [_per_seed(rows.assign(value=np.log(rows["value"])) if is_log else rows) for rows in (a, b)]
    effect, num_pairs, notes = _effect(*sides)
    intervals = [mean_interval(rows["value"]) for rows in sides]
    if is_log:
        intervals, effect = [exponential(interval) for interval in intervals], exponential(effect)
    repeated = [name for name, rows, all_rows in zip("AB", sides, (a, b), strict=True) if len(rows) < len(all_rows)]
    if repeated:
        notes.append(f"several cells a seed in {' and '.join(repeated)}, averaged")
    row: dict[str, Hashable] = {"scale": "log" if is_log else "linear"}
    for side, interval in zip("ab", intervals, strict=True):
        row |= {f"mean_{side}": interval.mean, f"low_{side}": interval.low, f"high_{side}": interval.high,
                f"seeds_{side}": interval.num_seeds}  # fmt: skip
    numbers = {"effect": effect.mean, "low": effect.low, "high": effect.high, "num_pairs": num_pairs}
    return row | numbers | {"note": "; ".join(notes)}


def _per_seed(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one row a seed: cells of one seed share their data, and are averaged."""
    return rows.groupby("seed", as_index=False).agg(
        id=("id", " ".join), value=("value", "mean"), truth_sha256=("truth_sha256", lambda texts: " ".join(set(texts)))
    )


def _effect(a: pd.DataFrame, b: pd.DataFrame) -> tuple[Interval, int, list[str]]:
    """Return the mean difference and its interval: of pairs where seeds pair, else by Welch's t interval."""
    if set(a["truth_sha256"]) != set(b["truth_sha256"]):
        return welch_interval(a["value"], b["value"]), 0, [OTHER_TRUTHS]
    pairs = paired(a, b, "value", ["seed"])
    if pairs.empty:
        return welch_interval(a["value"], b["value"]), 0, [NO_PAIRS]
    interval = mean_interval(pairs["difference"])
    return interval, len(pairs), [interval.note] if interval.note else []
