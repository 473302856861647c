"""Exact KL, reverse KL and Jensen–Shannon divergence of every group of cells, adversarial ones included."""

from __future__ import annotations

import math
import textwrap

import pandas as pd
from matplotlib.axes import Axes

from nllgen_analysis.cells_frame import STARTED_AT_TRUTH
from nllgen_analysis.figures import panels, scales, style
from nllgen_analysis.figures.style import GREY, FigureResult, NotDrawn, paradigm_colour
from nllgen_analysis.frames import Frames, ranked
from nllgen_analysis.text import CONDITION, GEOMETRIC, cite, listing

NAME, TITLE = "divergences", "Exact divergences from the truth"
PANELS = {
    "kl_nats": "KL(p‖q) (nats)",
    "reverse_kl_nats": "KL(q‖p) (nats)",
    "jsd_nats": "JSD(p, q) (nats)",
}
GROUP = ["panel", "group", "student", "paradigm", "setting"]
COLUMNS = (*GROUP, "row", "kind", "seed", "cell_id", "outcome", "value", "low", "high", "num_seeds", "scale")
MIN_ROWS = 5  # so that the label of the axis fits
MAX_ROWS = 24  # groups of cells on a page; the rest are in the CSV
ROW_IN = 0.21  # height of a label of two lines
LABEL_CHARACTERS = 36  # in a line


def draw_divergences(frames: Frames) -> list[FigureResult]:
    """Draw one figure: a row per group of cells on synthetic data, a panel per divergence."""
    data = divergence_data(frames)
    if data.empty:
        return [NotDrawn(NAME, TITLE, f"no cell on synthetic data has an exact divergence ({frames.counts_text})")]
    groups = list(data.drop_duplicates("row")["group"])
    shown = data[data["row"] < MAX_ROWS]
    labels = [_label(group) for group in groups[:MAX_ROWS]]
    row_in = ROW_IN * max(1, max(label.count("\n") + 1 for label in labels) / 2)
    grid = panels.Grid(
        row_height=0.6 + row_in * max(len(labels), MIN_ROWS), extra=0.4, share_y=True, y_label="group of cells",
        is_wide=True,
    )  # fmt: skip
    figure, axes = grid.draw([name for name in PANELS if (data["panel"] == name).any()])
    for panel, ax in axes.items():
        _draw_panel(ax, shown[shown["panel"] == panel], panel)
    figure.axes[0].set_yticks(range(len(labels)), labels, fontsize=6)
    figure.axes[0].set_ylim(len(labels) - 0.4, -0.6)
    style.legend_below(figure, [style.marker_key(name, paradigm_colour(name)) for name in shown["paradigm"].unique()])
    planned = frames.cells[(frames.cells["source"] == "synthetic") & (frames.cells["role"] != "truth")]
    return [panels.finish(NAME, TITLE, figure, data, _caption(data, groups[MAX_ROWS:]), planned)]


def divergence_data(frames: Frames) -> pd.DataFrame:
    """Return the plotted numbers, ``COLUMNS``: kind ``seed`` or ``mean`` with its interval, ``row`` from the top."""
    final = frames.final
    rows = final[(final["weights"] == "last") & (final["role"] != "truth") & (final["source"] == "synthetic")]
    parts = [
        own.assign(panel=name, value=own[name].astype(float), cell_id=own["id"])
        for name in PANELS
        if len(own := panels.finite(rows, name))
    ]
    if not parts:
        return pd.DataFrame(columns=list(COLUMNS))
    seeds = pd.concat(parts, ignore_index=True)
    both = pd.concat(
        [
            panels.with_means(own, GROUP, _scale(panel, own["value"]))
            for panel, own in seeds.groupby("panel", sort=False)
        ],
        ignore_index=True,
    )
    order = {name: row for row, name in enumerate(_order(seeds))}
    both = both.assign(row=both["group"].map(order)).sort_values(["row", "kind", "seed"], kind="stable")
    return both.reindex(columns=list(COLUMNS)).reset_index(drop=True)


def _scale(panel: str, values: pd.Series) -> scales.Scale:
    """Return the scale of a panel; the Jensen–Shannon divergence is bounded by ln 2 and stays linear."""
    return "linear" if panel == "jsd_nats" else scales.scale_of(values, is_ratio=True)


def _order(seeds: pd.DataFrame) -> list[str]:
    """Return the groups by paradigm, setting and degree."""
    groups = ranked(seeds.drop_duplicates("group"))
    groups = groups.assign(_trained=groups["student"].str.endswith(STARTED_AT_TRUTH))
    return list(groups.sort_values(["_trained", "paradigm", "_setting", "_student", "group"], kind="stable")["group"])


def _label(group: str) -> str:
    """Shorten a group's name to fit beside an axis; all data here are synthetic."""
    student, paradigm, setting, *variant = group.split(" · ")
    size = setting.removeprefix("synthetic, ").replace("fresh samples", "fresh")
    lines = [line for part in variant for line in textwrap.wrap(part, LABEL_CHARACTERS)]
    return style.literal("\n".join([f"{student}  {paradigm}  {size}", *lines]))


def _draw_panel(ax: Axes, data: pd.DataFrame, panel: str) -> None:
    for paradigm, rows in data.groupby("paradigm", sort=False):
        colour = paradigm_colour(paradigm)
        seeds, means = rows[rows["kind"] == "seed"], rows[rows["kind"] == "mean"]
        ax.plot(seeds["value"], seeds["row"], ".", color=colour, alpha=0.35, markersize=3, zorder=2)
        bars = panels.bar_lengths(means["low"], means["value"], means["high"])
        ax.errorbar(means["value"], means["row"], xerr=bars, fmt="o", color=colour, markersize=4, elinewidth=1,
                    capsize=2, zorder=3)  # fmt: skip
        if data["scale"].iloc[0] == "log":
            scales.mark_below(ax, "x", seeds.loc[seeds["value"] <= 0, "row"], colour)
    if panel == "jsd_nats":
        ax.axvline(math.log(2), color=GREY, linewidth=0.9, linestyle=(0, (5, 2)), zorder=0)
        ax.set_xlim(-0.03, math.log(2) + 0.03)
    else:
        scales.use_scale(ax, "x", data["scale"].iloc[0], data.loc[data["kind"] == "seed", "value"])
    ax.set_title("")
    ax.set_xlabel(PANELS[panel])


def _caption(data: pd.DataFrame, hidden: list[str]) -> list[str]:
    texts = [
        "Divergences between the truth p and the model q, from exact log-densities on both sides: KL(p‖q) over test "
        "images, KL(q‖p) over the model's samples, the Jensen–Shannon divergence over both; last weights. Small "
        f"points: seeds; markers: means with 95 % t intervals over seeds, {CONDITION}. Dashed: ln 2, the largest "
        "Jensen–Shannon divergence, of densities that do not overlap.",
    ]
    if (data["scale"] == "log").any():
        texts.append(f"{GEOMETRIC} A triangle at the left edge is a value of 0.")
    for group, rows in data[data["paradigm"] != "nll"].groupby("group", sort=False):
        means = [
            f"{PANELS[row['panel']].removesuffix(' (nats)')} {panels.average_text(row)}"
            for row in rows[rows["kind"] == "mean"].to_dict("records")
        ]
        texts.append(f"{cite(f'{group}, nats: {listing(means)}', rows['cell_id'].dropna())}.")
    return [*texts, panels.hidden_text(hidden)]
