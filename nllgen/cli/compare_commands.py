"""The command that compares results: compare."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import cloup

from nllgen.cli.analysis import importing_analysis
from nllgen.cli.options import JSON, PATH, STUDY_ROOT, example, find_results
from nllgen.cli.output import echo, finite, print_json, print_rows, table
from nllgen.errors import ConfigError

if TYPE_CHECKING:
    from nllgen_analysis.compare import Comparison, Side

_KINDS = ("png", "pdf")
_MAX_UNMATCHED = 6


class Selection(NamedTuple):
    """Cells on the command line: a study, and the values that they have."""

    text: str
    path: Path
    where: tuple[tuple[str, str], ...]


def _selection(ctx: click.Context, parameter: click.Parameter, value: str) -> Selection:
    """Split ``STUDY:KEY=VALUE,…``; a path that exists is a study as a whole."""
    study, _, conditions = value.rpartition(":")
    if not study or "=" not in conditions or Path(value).exists():
        return Selection(value, find_results(ctx, parameter, value), ())
    where = [condition.partition("=") for condition in conditions.split(",")]
    if any(not key or not equals or not wanted for key, equals, wanted in where):
        raise click.BadParameter(f"{conditions!r} is not KEY=VALUE, several joined by commas")
    pairs = tuple((key.strip(), wanted.strip()) for key, _, wanted in where)
    return Selection(value, find_results(ctx, parameter, study), pairs)


def _side(letter: str) -> Callable[[Any], Any]:
    text = "A study.h5; or a study, by name or directory. `:KEY=VALUE,…` selects cells of it."
    return cloup.argument(f"study_{letter.lower()}", metavar=f"{letter}[:KEY=VALUE,…]", callback=_selection, help=text)


@cloup.command(
    epilog=example(
        "nllgen compare first second --metric kl_nats",
        "nllgen compare smoke:paradigm=nll smoke:paradigm=nsgan --figure compare.png",
    )
)
@_side("A")
@_side("B")
@STUDY_ROOT
@cloup.option(
    "--metric",
    "metrics",
    metavar="COLUMN",
    multiple=True,
    help="Column of the final numbers; repeatable. [default: the main ones]",
)
@cloup.option(
    "--weights", type=click.Choice(("last", "best", "ema")), default="last", show_default=True, help="Weights measured."
)
@cloup.option("--figure", type=PATH, help="File to draw into, .png or .pdf.")
@cloup.option("--force", is_flag=True, help="Replace the file of the figure.")
@JSON
def compare(
    study_a: Selection, study_b: Selection, metrics: tuple[str, ...], weights: str, figure: Path | None, force: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Compare two studies, or two groups of cells.

    Cells belong together where they agree in all that A and B have in common; of these, equal seeds are pairs. The
    difference A − B has a t interval over the pairs; where values span powers of ten, it is the ratio A / B.
    """
    if figure is not None:
        _check_figure(figure, force=force)
    with importing_analysis():
        from nllgen_analysis.compare import compare as compare_sides
    sides = _sides(study_a, study_b)
    comparison = compare_sides(*sides, metrics, weights)
    if figure is not None:
        _draw(comparison, (study_a.text, study_b.text), figure)
    if as_json:
        print_json(_to_json(comparison, study_a, study_b, weights))
    else:
        _print(comparison, study_a, study_b, weights)
        if figure is not None:
            echo(f"drawn: {figure}")


def _sides(a: Selection, b: Selection) -> tuple[Side, Side]:
    from nllgen_analysis.compare import Side
    from nllgen_analysis.frames import load

    frames = load(a.path)
    others = frames if b.path.resolve() == a.path.resolve() else load(b.path)
    return Side(a.text, frames, a.where), Side(b.text, others, b.where)


def _check_figure(path: Path, *, force: bool) -> None:
    if path.suffix.removeprefix(".") not in _KINDS:
        raise ConfigError(f"--figure {path} is neither a .png nor a .pdf", f"end it in {' or '.join(_KINDS)}")
    if path.exists() and not force:
        raise ConfigError(f"{path} exists: it is not replaced", "choose another --figure, or add --force to replace it")


def _draw(comparison: Comparison, names: tuple[str, str], path: Path) -> None:
    from nllgen_analysis.figures.comparison import draw_comparison
    from nllgen_analysis.figures.style import render

    from nllgen.storage.atomic import make_folder, write_bytes

    make_folder(path.absolute().parent)
    write_bytes(path, render(draw_comparison(comparison, names), "pdf" if path.suffix == ".pdf" else "png"))


def _print(comparison: Comparison, a: Selection, b: Selection, weights: str) -> None:
    from nllgen_analysis.text import between, number

    echo(f"A: {a.text}")
    echo(f"B: {b.text}")
    echo(f"{weights} weights, on the test split; mean (95 % t interval over seeds)")
    rows = table("metric", "cells", "A", "B", "A − B, or A / B", "pairs", "note")
    for row in comparison.table.to_dict("records"):
        sides = [between(row[f"mean_{s}"], row[f"low_{s}"], row[f"high_{s}"], row[f"seeds_{s}"]) for s in "ab"]
        sign = "×" if row["scale"] == "log" else ""
        effect = f"{sign}{number(row['effect'])}"
        if math.isfinite(row["low"]):
            effect += f" ({number(row['low'])} … {number(row['high'])})"
        rows.add_row(row["metric"], row["group"], *sides, effect, str(row["num_pairs"] or ""), row["note"])
    print_rows(rows, len(comparison.table))
    if comparison.unmatched:
        echo(f"{len(comparison.unmatched)} groups of cells are on one side alone:")
        for line in comparison.unmatched[:_MAX_UNMATCHED]:
            echo(f"  {line}")
        if len(comparison.unmatched) > _MAX_UNMATCHED:
            echo(f"  … and {len(comparison.unmatched) - _MAX_UNMATCHED} more (all with --json)")


def _to_json(comparison: Comparison, a: Selection, b: Selection, weights: str) -> dict[str, Any]:
    rows = [{key: finite(value) for key, value in row.items()} for row in comparison.table.to_dict("records")]
    return {"a": a.text, "b": b.text, "weights": weights, "comparisons": rows, "unmatched": [*comparison.unmatched],
            "differing": [*comparison.differing]}  # fmt: skip
