"""The findings of a study in a few sentences, for the terminal and the head of the report."""

from __future__ import annotations

import pandas as pd

from nllgen_analysis.claims import Judged, Verdict
from nllgen_analysis.claims.tables import verdict_text
from nllgen_analysis.figures.capacity import capacity_data
from nllgen_analysis.figures.nash import control_pairs
from nllgen_analysis.frames import Frames
from nllgen_analysis.statistics import typical_mean
from nllgen_analysis.text import number

_MAX_STATEMENTS = 4  # if more claims are decided, a sentence names their ids alone
_MIN_STUDENTS = 2  # for a sentence on capacity


def findings(frames: Frames, judged: Judged) -> list[str]:
    """Return a sentence each on the claims, on capacity and on the Nash equilibrium, if there are data."""
    sentences = [_claims(judged), _capacity(frames), _equilibrium(frames)]
    return [sentence for sentence in sentences if sentence]


def _claims(judged: Judged) -> str:
    decided = [verdict for verdict in judged.verdicts if verdict.finding.verdict != "undecided"]
    if not decided:
        return f"None of {len(judged.verdicts)} claims is decided: each verdict says what it lacks."
    texts = [f"{verdict.id} is {verdict_text(verdict)}{_in_words(verdict, len(decided))}" for verdict in decided]
    return f"{len(decided)} of {len(judged.verdicts)} claims are decided: {'; '.join(texts)}."


def _in_words(verdict: Verdict, num_decided: int) -> str:
    return f" ({_lowered(verdict.statement)})" if num_decided <= _MAX_STATEMENTS else ""


def _lowered(statement: str) -> str:
    """Return a statement for the middle of a sentence; keep an abbreviation at its head."""
    first = statement.split(maxsplit=1)[0]
    return statement if first[1:].lower() != first[1:] else statement[0].lower() + statement[1:]


def _capacity(frames: Frames) -> str:
    """Name the student with the smallest mean KL on the data set that has the most students."""
    data = capacity_data(frames)  # the means of the figure
    means = data[(data["kind"] == "mean") & (data["weights"] == "last")]
    if means.empty:
        return ""
    panel = means.groupby("panel", sort=False)["student"].nunique().idxmax()
    shown = means[(means["panel"] == panel) & means["student"].notna()]
    if shown["student"].nunique() < _MIN_STUDENTS:
        return ""
    best = shown.loc[shown["value"].astype(float).idxmin()]
    others = [f"{row['student']} {_value(row)}" for _, row in shown.iterrows() if row["student"] != best["student"]]
    data_name = str(panel).replace("synthetic", "synthetic data")
    size = f"{int(best['num_parameters']):,} parameters"
    return (
        f"Trained by NLL on {data_name}, {best['student']} ({size}) ends nearest to the truth: KL(p‖q) {_value(best)} "
        f"nats; {', '.join(others)}."
    )


def _value(row: pd.Series) -> str:
    if pd.isna(row["low"]):
        return f"{number(float(row['value']))} (one seed)"
    return f"{number(float(row['value']))} ({number(float(row['low']))} … {number(float(row['high']))})"


def _in_capitals(series: str) -> str:
    """Write the paradigm at the head of an arm's name in capitals, as papers do."""
    paradigm, space, variant = series.partition(" ")
    return paradigm.replace("_", " ").upper() + space + variant


def _equilibrium(frames: Frames) -> str:
    """Compare the distance from the truth after the same steps of the game and of its NLL control."""
    trained = frames.eval["cell"].map(frames.cells["steps"]) > 0
    rows = frames.eval[trained & (frames.eval["start"] == "truth") & (frames.eval["weights"] == "raw")]
    rows = rows[rows["kl_nats"].notna()]
    if rows.empty:
        return ""
    pairs = control_pairs(frames, rows)
    if pairs.empty:
        return ""
    pairs = pairs.sort_values("series", kind="stable")
    means = [typical_mean(pairs, ["series"], side) for side in ("first", "second")]
    games = [
        f"{_in_capitals(str(name))} is {number(game)} nats away from it where NLL is {number(control)}"
        for name, game, control in zip(means[0]["series"], *(each["mean"] for each in means), strict=True)
    ]
    num_seeds = pairs["seed"].nunique()
    return f"Started at the truth, {'; '.join(games)} (KL(p‖q), {num_seeds} seed{'s' * (num_seeds > 1)})."
