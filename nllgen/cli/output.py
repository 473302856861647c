"""Output of commands: lines, JSON and tables."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

MAX_ROWS = 40
MAX_NAMED = 20


def echo(text: str = "") -> None:
    """Print a line."""
    click.echo(text)


def warn(text: str) -> None:
    """Print a line on standard error."""
    click.echo(text, err=True)


def ignore(text: str) -> None:
    """Print nothing, where standard output is for JSON."""


def print_json(value: dict[str, Any]) -> None:
    """Print one JSON document.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    click.echo(json.dumps(value, indent=1, allow_nan=False))


def table(*headings: str) -> Table:
    """Return an empty table."""
    from rich.table import Table

    return Table(*headings, box=None, header_style="bold", pad_edge=False)


def print_tables(*parts: Table | str) -> None:
    """Print tables and texts as wide as the terminal, or 160 columns wide into a file."""
    console = _console()
    for part in parts:
        console.print(part)


def terminal_width() -> int:
    """Return the number of columns that :func:`print_tables` fills."""
    return _console().width


def _console() -> Console:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 160, highlight=False, markup=False)


def print_rows(rows: Table, num_rows: int) -> None:
    """Print a table of at most ``MAX_ROWS`` rows, and how many of all rows it leaves out."""
    left_out = num_rows - MAX_ROWS
    print_tables(rows, f"… and {left_out} more (all with --json)" if left_out > 0 else "")


def shortened(names: tuple[str, ...], limit: int = 10) -> str:
    """Return names joined by commas, the first few of many."""
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")
