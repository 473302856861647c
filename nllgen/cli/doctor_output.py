"""Output of ``nllgen doctor``: a table or JSON, and the profile that it writes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nllgen.doctor import Report
    from nllgen.doctor.probe import Finding

_STYLES = {"ok": "green", "note": "yellow", "problem": "bold red"}


def doctor(
    root: Path,
    more: Sequence[Finding],
    echo: Callable[[str], None],
    *,
    as_json: bool = False,
    name: str | None = None,
    out: Path | None = None,
    partition: str | None = None,
    force: bool = False,
) -> int:
    """Examine the machine, print the findings, and write a profile if one is asked for.

    Args:
        root: parent of the study directories.
        more: further findings, such as the assets.
        echo: prints a line.
        as_json: print one JSON object instead of a table.
        name: of a profile in the user's own directory of profiles.
        out: file of a profile.
        partition: that the profile uses.
        force: whether an existing profile is replaced.

    Returns:
        The exit code.
    """
    from nllgen.doctor import examine, profile_path, write_profile

    target = out or (profile_path(name) if name else None)
    report = examine(root, more)
    if not as_json:
        print_findings(report)
    if target is not None:
        write_profile(report.cluster, target, partition, force=force)
    if as_json:
        echo(json.dumps(report.to_json() | {"profile": str(target) if target else None}, indent=1))
    elif target is not None:
        echo(f"wrote {target}; next: nllgen submit --grid smoke --profile {name or target} --dry-run")
    elif report.can_submit:
        echo("next: nllgen doctor --write NAME makes a profile of this cluster")
    return report.exit_code


def print_findings(report: Report) -> None:
    """Print a table of the findings by section, and their number by level."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "what", "found", "means"):
        table.add_column(heading, overflow="fold")
    section = ""
    for finding in report.findings:
        if finding.section != section:
            section = finding.section
            table.add_row("", Text(section, style="bold"), "", "")
        means = finding.means + (f" → {finding.hint}" if finding.hint else "")
        table.add_row(Text(finding.level, style=_STYLES[finding.level]), f"  {finding.name}", finding.value, means)
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False, markup=False)
    console.print(table)
    counts = {level: sum(finding.level == level for finding in report.findings) for level in _STYLES}
    console.print(f"{counts['ok']} ok, {counts['note']} to know, {counts['problem']} to solve", end="; ")
    can_submit = "studies" if report.can_submit else "no study"
    console.print(f"{can_submit} can be sent to Slurm from here")
