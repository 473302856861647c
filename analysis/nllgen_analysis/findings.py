"""What a study found, in a few plain sentences: for the end of a command and the head of the report."""

from __future__ import annotations

import pandas as pd

from nllgen_analysis.claims import Judged, Verdict
from nllgen_analysis.figures.capacity import capacity_data
from nllgen_analysis.figures.nash import control_pairs
from nllgen_analysis.frames import Frames
from nllgen_analysis.text import number

_FEW_CLAIMS = 4  # of more, a sentence names the ids alone
_FEW_STUDENTS = 2  # a smallest KL among fewer says nothing of capacity


def findings(frames: Frames, judged: Judged) -> list[str]:
    """Return one sentence each on the claims, on capacity and on the Nash equilibrium, as far as there are data."""
    sentences = [_claims(judged), _capacity(frames), _equilibrium(frames)]
    return [sentence for sentence in sentences if sentence]


def _claims(judged: Judged) -> str:
    top = [verdict for verdict in judged.verdicts if verdict.finding.verdict != "undecided"]
    if not top:
        return f"None of {len(judged.verdicts)} claims is decided: each verdict says what it lacks."
    told = [f"{verdict.id} is {verdict.finding.verdict}{_in_words(verdict, len(top))}" for verdict in top]
    return f"{len(top)} of {len(judged.verdicts)} claims are decided: {'; '.join(told)}."


def _in_words(verdict: Verdict, num_told: int) -> str:
    return f" ({_lowered(verdict.statement)})" if num_told <= _FEW_CLAIMS else ""


def _lowered(statement: str) -> str:
    """A statement in the middle of a sentence; an abbreviation at its head stays as it is."""
    first = statement.split(maxsplit=1)[0]
    return statement if first[1:].lower() != first[1:] else statement[0].lower() + statement[1:]


def _capacity(frames: Frames) -> str:
    """The student with the smallest mean KL among those of one data set, the set with the most students."""
    data = capacity_data(frames)
    means = data[(data["kind"] == "mean") & (data["weights"] == "last")]
    if means.empty:
        return ""
    panel = means.groupby("panel", sort=False)["student"].nunique().idxmax()
    shown = means[(means["panel"] == panel) & means["student"].notna()]
    if shown["student"].nunique() < _FEW_STUDENTS:
        return ""
    best = shown.loc[shown["value"].astype(float).idxmin()]
    others = [_end(row) for _, row in shown.iterrows() if row["student"] != best["student"]]
    data_name = str(panel).replace("synthetic", "synthetic data")
    size = f"{int(best['num_parameters']):,} parameters"
    return (
        f"Trained by NLL on {data_name}, {best['student']} ({size}) ends nearest to the truth: KL(p‖q) {_value(best)} "
        f"nats; {', '.join(others)}."
    )


def _end(row: pd.Series) -> str:
    return f"{row['student']} {_value(row)}"


def _value(row: pd.Series) -> str:
    if pd.isna(row["low"]):
        return f"{number(float(row['value']))} (one seed)"
    return f"{number(float(row['value']))} ({number(float(row['low']))} … {number(float(row['high']))})"


def _in_capitals(series: str) -> str:
    """The name of an arm, its paradigm written as papers do."""
    paradigm, space, variant = series.partition(" ")
    return paradigm.replace("_", " ").upper() + space + variant


def _equilibrium(frames: Frames) -> str:
    """Where the game and its NLL control are after the same steps from the truth."""
    trained = frames.eval["cell"].map(frames.cells["steps"]) > 0
    rows = frames.eval[trained & (frames.eval["start"] == "truth") & (frames.eval["weights"] == "raw")]
    rows = rows[rows["kl_nats"].notna()]
    if rows.empty:
        return ""
    pairs = control_pairs(frames, rows)
    if pairs.empty:
        return ""
    games = [
        f"{_in_capitals(str(name))} is {number(float(arm['first'].mean()))} nats away from it where NLL is "
        f"{number(float(arm['second'].mean()))}"
        for name, arm in pairs.groupby("series", sort=True)
    ]
    num_seeds = pairs["seed"].nunique()
    return f"Started at the truth, {'; '.join(games)} (mean KL(p‖q), {num_seeds} seed{'s' * (num_seeds > 1)})."
