"""Tables of a study as frames: cells, groups, final metrics, resources, datasets and provenance."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from nllgen.storage.schema import FINAL_COLUMNS
from nllgen.study.image_sets import source_title
from nllgen.study.lenets import missing_lenets
from nllgen_analysis.frames import OUTCOME_ORDER, Frames, ranked
from nllgen_analysis.statistics import interquartile, summarise
from nllgen_analysis.text import number, plus_minus

Average = Callable[[pd.DataFrame, list[str], str], pd.DataFrame]  # of rows, by which columns, of which value

GROUP = ["student", "paradigm", "setting", "variant"]
HEADINGS = ("degree", "paradigm", "data", "variant", "weights")  # of GROUP and the kind of weights, in print
NOT_METRICS = ("weights", "step", "time_s")
# metric of the printed table → heading; metrics without any value are left out
MAIN_METRICS = {
    "kl_nats": "KL (nats)",
    "frechet_lenet": "Fréchet (LeNet)",
    "frechet_inception": "Fréchet (Inception)",
    "test_nll_nats": "test NLL (nats)",
    "test_bits_per_dim": "bits/dim",
}
# column of the resources → heading in print
RESOURCES = {
    "cells": "cells",
    "num_parameters": "parameters",
    "seconds_per_step": "s/step",
    "hours_per_cell": "h/cell",
    "core_hours": "core hours",
}
PROVENANCE = (
    "version", "code_sha256", "container_sha256", "torch_version", "host", "device", "num_threads", "precision",
    "truth_sha256",
)  # fmt: skip
# a text that a spreadsheet computes (OWASP, CSV injection), which a number with a sign is not
_FORMULA = re.compile(r"(?![+-](\d+\.?\d*|\.\d+)(e[+-]?\d+)?$|[+-]inf$)[=+\-@\t]", re.IGNORECASE)
_MAX_DEAD = 10  # games that a warning names
_SUMMARY = ("metric", "unit", "mean", "low", "high", "num_seeds", "num_nonfinite", "note")


def cells_table(frames: Frames) -> pd.DataFrame:
    """Return one row per cell: configuration, outcome, provenance, and the final metrics of its last weights."""
    last = frames.final[frames.final["weights"] == "last"].drop_duplicates("cell").set_index("cell")
    metrics = last[[name for name in FINAL_COLUMNS if name not in NOT_METRICS and last[name].notna().any()]]
    return frames.cells.join(metrics)


def groups_table(frames: Frames) -> pd.DataFrame:
    """Return one row per group: cells planned, done, diverged and missing, parameters, seconds per step."""
    cells = _ordered(frames.cells[frames.cells["role"] != "truth"])
    table = cells.groupby(GROUP, sort=False).agg(
        planned=("id", "size"),
        num_parameters=("num_parameters", "median"),
        seconds_per_step=("seconds_per_step", "mean"),
    )
    for outcome in OUTCOME_ORDER:
        table[outcome] = (cells["outcome"] == outcome).groupby([cells[key] for key in GROUP], sort=False).sum()
    return table.reset_index()


def final_means(frames: Frames, average: Average = summarise) -> pd.DataFrame:
    """Return one row per group, kind of weights and metric: the mean, its t interval over seeds, and the cells.

    Args:
        frames: the study.
        average: ``statistics.summarise`` or ``statistics.typical_mean``.
    """
    rows, metrics = _final_rows(frames)
    by = [*GROUP, "weights"]
    # NaN is a metric that was not measured; an infinite value was measured and counts as not finite
    parts = [
        average(rows[rows[name].notna()], by, name).assign(metric=name, unit=FINAL_COLUMNS[name]) for name in metrics
    ]
    if not parts:
        return pd.DataFrame(columns=[*by, *_SUMMARY, "cell_ids"])
    ids = rows.groupby(by, sort=False)["id"].agg(" ".join).rename("cell_ids").reset_index()
    return pd.concat(parts, ignore_index=True).merge(ids, on=by)[[*by, *_SUMMARY, "cell_ids"]]


def final_table(frames: Frames) -> pd.DataFrame:
    """Return the means and, beside them, interquartile means with their descriptive bootstrap intervals."""
    rows, metrics = _final_rows(frames)
    by = [*GROUP, "weights", "metric"]
    if not metrics:
        return final_means(frames).assign(iqm=[], iqm_low=[], iqm_high=[])
    long = rows.melt(by[:-1], metrics, "metric", "value").dropna(subset="value")
    return final_means(frames).merge(interquartile(long, by, "value"), on=by, how="left")


def _final_rows(frames: Frames) -> tuple[pd.DataFrame, list[str]]:
    """Return the final metrics of all cells but the truth's training, and the names of those that have values."""
    rows = _ordered(frames.final[frames.final["role"] != "truth"])
    return rows, [name for name in FINAL_COLUMNS if name not in NOT_METRICS and rows[name].notna().any()]


def printed_table(frames: Frames) -> pd.DataFrame:
    """Return the main final metrics as ``mean ± half``, a row of texts per group and kind of weights."""
    final = final_means(frames)
    metrics = {name: title for name, title in MAIN_METRICS.items() if name in set(final["metric"])}
    rows = []
    for keys, part in final.groupby([*GROUP, "weights"], sort=False):
        by_metric = part.set_index("metric")
        texts = {
            title: plus_minus(by_metric.at[name, "mean"], by_metric.at[name, "high"])
            if name in by_metric.index
            else "–"
            for name, title in metrics.items()
        }
        rows.append({**dict(zip(HEADINGS, keys, strict=True)), "seeds": str(int(part["num_seeds"].max())), **texts})
    with_results = set(final[GROUP].itertuples(index=False, name=None))
    for group in groups_table(frames)[GROUP].itertuples(index=False, name=None):
        if group not in with_results:
            rows.append({**dict(zip(HEADINGS, (*group, "–"), strict=True)), "seeds": "0"})
    table = pd.DataFrame(rows).fillna("–") if rows else pd.DataFrame(columns=[*HEADINGS, "seeds"])
    return _without_empty_variant(table)


def _without_empty_variant(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns="variant") if (table["variant"] == "").all() else table


def resources_table(frames: Frames) -> pd.DataFrame:
    """Return the resources of training: a row per group and device, the truth first, the sum last.

    ``hours_per_cell`` is a mean, ``hours`` and ``core_hours`` are sums, without the time of measuring. A diverged cell
    took the steps that it logged.
    """
    cells = _ordered(frames.cells[frames.cells["outcome"] != "missing"])
    logged = frames.history.groupby("cell")["step"].max().reindex(cells.index)
    steps = cells["steps"].where(cells["outcome"] == "done", logged)
    hours = steps * cells["seconds_per_step"].astype(float).where(steps > 0, 0.0) / 3600
    cells = cells.assign(taken=steps, hours=hours, core_hours=hours * cells["num_threads"])
    by = [*GROUP, "device", "num_threads"]
    table = cells.groupby(by, sort=False, dropna=False).agg(
        cells=("id", "size"),
        num_parameters=("num_parameters", "median"),
        steps=("taken", "mean"),
        seconds_per_step=("seconds_per_step", "mean"),
        hours_per_cell=("hours", "mean"),
        hours=("hours", "sum"),
        core_hours=("core_hours", "sum"),
        attempts=("attempts", "sum"),
        cell_ids=("id", " ".join),
    )
    table = table.reset_index()
    total = table[["cells", "hours", "core_hours", "attempts"]].sum().to_frame().T.assign(student="all", cell_ids="")
    return pd.concat([table, total.astype({"cells": int})], ignore_index=True) if len(table) else table


def printed_resources(frames: Frames) -> pd.DataFrame:
    """Return the resources as texts."""
    table = resources_table(frames)
    names = dict(zip(GROUP, HEADINGS, strict=False))
    printed = table[list(names)].fillna("").rename(columns=names)
    printed["device"] = [
        f"{row.device}, {_count(row.num_threads)}" if isinstance(row.device, str) else ""
        for row in table.itertuples(index=False)
    ]
    for column, title in RESOURCES.items():
        text = _count if column in ("cells", "num_parameters") else number
        printed[title] = ["" if pd.isna(value) else text(float(value)) for value in table[column]]
    return _without_empty_variant(printed)


def _count(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:,.0f}"


def provenance_table(frames: Frames) -> pd.DataFrame:
    """Return every distinct value of versions, hosts, hashes and assets, and the number of results that carry it."""
    present = frames.cells[frames.cells["outcome"] != "missing"]
    rows = [
        {"what": column, "value": f"{value:g}" if isinstance(value, float) else str(value) or "none", "results": count}
        for column in PROVENANCE
        for value, count in present[column].value_counts(dropna=False).items()
    ]
    for text, count in present["assets"].value_counts().items():
        rows += [{"what": f"asset {name}", "value": value, "results": count} for name, value in _assets(str(text))]
    table = pd.DataFrame(rows, columns=["what", "value", "results"])
    return table.groupby(["what", "value"], sort=False, as_index=False)["results"].sum()


def warnings_of(frames: Frames) -> list[str]:
    """Return warnings that a reader needs before comparing numbers."""
    present = frames.cells[frames.cells["outcome"] != "missing"]
    warnings = []
    for column, name in {"truth_sha256": "truths", "code_sha256": "versions of the code"}.items():
        num_values = sum(bool(value) for value in present[column].unique())
        if num_values > 1:
            warnings.append(f"The results come from {num_values} different {name}: compare them with care.")
    counts, total = frames.counts, sum(frames.counts.values())
    if counts["missing"]:
        warnings.append(f"{counts['missing']} of {total} cells have no result; means are over the results that exist.")
    if counts["diverged"]:
        warnings.append(f"{counts['diverged']} of {total} cells diverged; their history is kept and shown.")
    reasons = missing_lenets(frames.study.get("metrics", {}).get("frechet", ()), frames.domains)
    warnings += [f"No Fréchet distance on LeNet's features: {reason}." for reason in reasons]
    if dead := _dead_games(frames):
        shown = ", ".join(dead[:_MAX_DEAD]) + (f" and {len(dead) - _MAX_DEAD} more" if len(dead) > _MAX_DEAD else "")
        warnings.append(
            f"Games whose generator had no gradient at the end: {shown}. They stopped learning there; what they are "
            "compared with did not."
        )
    warnings += [
        f"Cells on {source_title(str(source))} were left out: it was missing when the study was submitted. Fetch it "
        f"(nllgen assets fetch {source}) and submit the study again to add them."
        for source in frames.study.get("left_out", ())
    ]
    groups = groups_table(frames)
    num_single = int((groups["planned"] == 1).sum())
    if num_single:
        warnings.append(f"{num_single} of {len(groups)} groups have one seed: no interval can be given for them.")
    return warnings


def _dead_games(frames: Frames) -> list[str]:
    """Return the cells whose generator had no gradient at its last evaluation, and since when."""
    ends = frames.eval[frames.eval["weights"] == "raw"].groupby("cell", sort=False).tail(1).set_index("cell")
    steps = ends["dead_step"].astype(float).dropna()
    return [f"{frames.cells['id'][row]} since step {step:.0f}" for row, step in steps.items()]


def to_csv(table: pd.DataFrame, float_format: str | None = "%.10g") -> bytes:
    """Return a table as CSV in UTF-8; no text is a formula to a spreadsheet. Without a format, numbers are exact."""
    texts = {name: _without_formulas(column) for name, column in table.items() if not is_numeric_dtype(column)}
    return bytes(table.assign(**texts).to_csv(index=False, float_format=float_format).encode())


def _without_formulas(column: pd.Series) -> pd.Series:
    is_formula = column.map(lambda value: isinstance(value, str) and bool(_FORMULA.match(value))).astype(bool)
    return column.mask(is_formula, "'" + column.astype(str)) if is_formula.any() else column


def _assets(text: str) -> list[tuple[str, str]]:
    try:
        value = json.loads(text or "{}")
    except json.JSONDecodeError:
        return [("(unreadable)", text)]
    return [(str(key), str(item)) for key, item in value.items()] if isinstance(value, dict) else [("", str(value))]


def _ordered(rows: pd.DataFrame) -> pd.DataFrame:
    """Sort rows by setting, paradigm, degree, variant and seed."""
    ordered = ranked(rows).sort_values(["_setting", "paradigm", "_student", "variant", "seed"], kind="stable")
    return ordered.drop(columns=["_setting", "_student"])


def finite_or_none(value: object) -> float | None:
    """Return a number for JSON and HTML, None if it is not finite."""
    return float(value) if isinstance(value, int | float | np.number) and np.isfinite(float(value)) else None
