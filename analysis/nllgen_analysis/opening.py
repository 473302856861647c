"""The head of the page: what ran, what is missing, the key numbers of its groups, and what their names mean."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from nllgen.study.degrees import MEANINGS
from nllgen_analysis import tables
from nllgen_analysis.cells_frame import STARTED_AT_TRUTH
from nllgen_analysis.figures.style import DARK_GREY, degree_colour, paradigm_colour, paradigm_marker
from nllgen_analysis.figures.vector import property_of
from nllgen_analysis.frames import Frames, student_order
from nllgen_analysis.page_tables import Table, Value
from nllgen_analysis.statistics import typical_mean
from nllgen_analysis.text import number

# metric → heading; a group is ranked by the first that it has
KEY_METRICS = {
    "kl_nats": "KL(p‖q) (nats)",
    "frechet_lenet": "Fréchet (LeNet)",
    "frechet_inception": "Fréchet (Inception)",
    "test_bits_per_dim": "bits/dim",
}
MAX_GROUPS = 5  # that a sentence names
# end of a student's name → what it says of the start
STARTS = dict(
    zip(
        STARTED_AT_TRUTH,
        ("starts at the truth's weights", "starts at the truth's weights with noise on them"),
        strict=True,
    )
)
# marker of a figure → the same in a text
SYMBOLS = {
    "^": "▲", "s": "■", "o": "●", "D": "◆", "P": "✚", "v": "▼", "X": "✖", "<": "◀", ">": "▶", "p": "⬟", "h": "⬢",
    "*": "★", "d": "♦",
}  # fmt: skip


@dataclass(frozen=True)
class Key:
    """A name of the study with its meaning, and its colour and symbol in the figures."""

    name: str
    meaning: str
    colour: str  # as a value of CSS
    symbol: str = "●"


def what_ran(frames: Frames) -> str:
    """Return a sentence with the degrees, paradigms, data and seeds of the study."""
    cells = frames.cells[frames.cells["role"] != "truth"]
    if cells.empty:
        return "The study has no cells."
    groups = tables.groups_table(frames)
    seeds = sorted(int(seed) for seed in cells["seed"].unique())
    span = f"{seeds[0]}…{seeds[-1]}" if len(seeds) > 1 else f"{seeds[0]}"
    shipped = frames.study.get("pretrained")
    truth = f" Its truth is {shipped}, which ships with nllgen." if shipped else ""
    truth = " A truth was trained first." if (frames.cells["role"] == "truth").any() else truth
    return (
        f"{len(cells)} cells in {len(groups)} groups: degrees {', '.join(student_order(groups['student']))}; paradigms "
        f"{', '.join(sorted(cells['paradigm'].unique()))}; data {'; '.join(groups['setting'].unique())}; {len(seeds)} "
        f"{'seeds' if len(seeds) > 1 else 'seed'} ({span}).{truth}"
    )


def what_lacks(frames: Frames) -> str:
    """Return a sentence with the groups whose cells have no result, empty if all have one."""
    cells = frames.cells[(frames.cells["role"] != "truth") & (frames.cells["outcome"] == "missing")]
    if cells.empty:
        return ""
    names = list(cells["group"].unique())
    more = f" and {len(names) - MAX_GROUPS} more groups" if len(names) > MAX_GROUPS else ""
    return f"Missing: {len(cells)} cell{'s' * (len(cells) > 1)} of {'; '.join(names[:MAX_GROUPS])}{more}."


def key_numbers(frames: Frames) -> Table:
    """Return a row per group that was trained: its likelihood and image quality with their intervals, best first."""
    means = tables.final_means(frames, typical_mean)
    means = means[(means["weights"] == "last") & means["metric"].isin(list(KEY_METRICS))]
    trained = frames.cells.loc[(frames.cells["steps"] > 0) & (frames.cells["role"] != "truth"), tables.GROUP]
    is_trained = set(trained.itertuples(index=False, name=None))
    parts = [(key, part) for key, part in means.groupby(tables.GROUP, sort=False) if key in is_trained]
    parts.sort(key=lambda part: _rank(part[1].set_index("metric")["mean"]))
    degree, paradigm, data, variant = tables.HEADINGS[: len(tables.GROUP)]
    headings = [degree, paradigm, data, *KEY_METRICS.values(), "seeds", variant]
    rows = [[*map(Value, key[:-1]), *_estimates(part), Value(key[-1])] for key, part in parts]
    return Table.with_values(headings, rows)


def _rank(means: pd.Series) -> tuple[int, float]:
    """Return the place of a group: by the first key metric that it has; groups of another metric follow."""
    for place, metric in enumerate(KEY_METRICS):
        if metric in means and not math.isnan(float(means[metric])):
            return place, float(means[metric])
    return len(KEY_METRICS), 0.0


def _estimates(part: pd.DataFrame) -> list[Value]:
    rows = {row["metric"]: row for row in part.to_dict("records")}
    cells = tuple(str(part["cell_ids"].iloc[0]).split())
    values = [_estimate(rows[metric], cells) if metric in rows else Value("–") for metric in KEY_METRICS]
    num_seeds = float(part["num_seeds"].max())
    return [*values, Value(f"{num_seeds:.0f}", num_seeds)]


def _estimate(row: Mapping[Hashable, Any], cells: tuple[str, ...]) -> Value:
    mean, low, high = (float(row[name]) for name in ("mean", "low", "high"))
    interval = "" if math.isnan(low) else f" ({number(low)} … {number(high)})"
    return Value(number(mean, 4) + interval, mean if math.isfinite(mean) else None, cells)


def degree_keys(frames: Frames) -> list[Key]:
    """Return the degrees of the study in their order."""
    students = frames.cells.loc[frames.cells["role"] != "truth", "student"]
    return [Key(name, _meaning(name), property_of(degree_colour(name))) for name in student_order(students)]


def _meaning(student: str) -> str:
    meanings: dict[str, str] = {str(degree): text for degree, text in MEANINGS.items()}
    end = next((end for end in STARTS if student.endswith(end)), "")
    text = meanings.get(student.removesuffix(end), meanings["custom"])
    return f"{text}; {STARTS[end]}" if end else text


def paradigm_keys(frames: Frames) -> list[Key]:
    """Return the paradigms of the study by name."""
    purposes = {cell.paradigm.name: cell.paradigm.purpose() for cell in frames.configs}
    names = sorted(frames.cells.loc[frames.cells["role"] != "truth", "paradigm"].unique())
    return [
        Key(name, purposes[name], property_of(paradigm_colour(name)), SYMBOLS[paradigm_marker(name)]) for name in names
    ]


def key_colours(frames: Frames) -> set[str]:
    """Return the colours of the degrees and paradigms of the study, and those of keys without one."""
    cells = frames.cells[frames.cells["role"] != "truth"]
    paradigms = {paradigm_colour(name) for name in cells["paradigm"].unique()}
    return {DARK_GREY, *paradigms, *(degree_colour(name) for name in cells["student"].unique())}
