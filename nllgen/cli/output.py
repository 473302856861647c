"""Output of commands: lines, JSON and tables. Whatever is printed passes here, where control characters are escaped."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

MAX_ROWS = 40
MAX_NAMED = 20


def _escaped(text: str) -> str:
    from nllgen.storage.untrusted import escape_controls

    return escape_controls(text)


def echo(text: str = "") -> None:
    """Print a line; control characters in it are shown, not obeyed."""
    click.echo(_escaped(text))


def echo_part(text: str) -> None:
    """Print a part of a log, which may end within a line."""
    click.echo(_escaped(text), nl=False)


def warn(text: str) -> None:
    """Print a line on standard error."""
    click.echo(_escaped(text), err=True)


def ignore(text: str) -> None:
    """Print nothing, where standard output is for JSON."""


def print_json(value: dict[str, Any]) -> None:
    """Print one JSON document.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    click.echo(json.dumps(value, indent=1, allow_nan=False))


def finite(value: Any) -> Any:
    """Return a value as JSON has it: None for a number that is NaN or infinite."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def table(*headings: str) -> Table:
    """Return an empty table."""
    from rich.table import Table

    return Table(*headings, box=None, header_style="bold", pad_edge=False)


def make_console(width: int | None = None) -> Console:
    """Return a console that styles as it is told, and escapes the control characters of every text."""
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class EscapingConsole(Console):
        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
            for segment in super().render(renderable, options):
                text = segment.text if segment.control else _escaped(segment.text)
                yield segment if text is segment.text else Segment(text, segment.style)

    return EscapingConsole(width=width, highlight=False, markup=False)


def print_tables(*parts: Table | str) -> None:
    """Print tables and texts as wide as the terminal, or 160 columns wide into a file."""
    console = _console()
    for part in parts:
        console.print(part)


def terminal_width() -> int:
    """Return the number of columns that :func:`print_tables` fills."""
    return _console().width


def _console() -> Console:
    return make_console(None if sys.stdout.isatty() else 160)


def print_rows(rows: Table, num_rows: int) -> None:
    """Print a table of at most ``MAX_ROWS`` rows, and how many of all rows it leaves out."""
    left_out = num_rows - MAX_ROWS
    print_tables(rows, f"… and {left_out} more (all with --json)" if left_out > 0 else "")


def shortened(names: tuple[str, ...], limit: int = 10) -> str:
    """Return names joined by commas, the first few of many."""
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")
