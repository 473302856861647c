"""``nllgen doctor``: what this machine and its cluster are like, what that means, and a profile to begin with.

Looks, and changes nothing: what it writes to try a folder out is removed again. Every question has its time limit.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nllgen.doctor import machine
from nllgen.doctor.probe import Finding
from nllgen.doctor.profile import profile_text
from nllgen.doctor.rules import judge
from nllgen.errors import EXIT_DONE, EXIT_ENVIRONMENT, ConfigError
from nllgen.launch.profile import user_folder
from nllgen.launch.slurm.cluster_info import ClusterInfo, query_cluster
from nllgen.storage.atomic import create_bytes, make_folder, write_bytes

_STYLE = {"ok": "green", "note": "yellow", "problem": "bold red"}


@dataclass(frozen=True)
class Report:
    """All findings, and what they were judged from."""

    findings: tuple[Finding, ...]
    cluster: ClusterInfo

    @property
    def can_submit(self) -> bool:
        """Whether a study can be sent to Slurm from here."""
        return not any(finding.stops_submission for finding in self.findings)

    @property
    def exit_code(self) -> int:
        """0, or 3 where no study can be sent to Slurm."""
        return EXIT_DONE if self.can_submit else EXIT_ENVIRONMENT

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {"can_submit": self.can_submit, "findings": [asdict(finding) for finding in self.findings]}


def examine(root: Path, more: Sequence[Finding] = ()) -> Report:
    """Look at everything.

    Args:
        root: where studies will lie; need not be there yet.
        more: findings of others, such as the assets.
    """
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(query_cluster)
        container = pool.submit(lambda: list(machine.container()))
        cluster = asked.result()
        folder = pool.submit(machine.folder, root, cluster)
        gpus = pool.submit(lambda: list(machine.gpus(cluster)))
        found = [*judge(cluster), *folder.result(), *container.result(), *gpus.result()]
    return Report((*found, *machine.python(), *more), cluster)


def write_profile(cluster: ClusterInfo, target: Path, partition: str | None, *, force: bool) -> Path:
    """Write a profile of the cluster.

    Raises:
        ConfigError: the file is there already, or there is no such partition.
        MachineError: there is no cluster to make a profile of, or the file cannot be written.
    """
    data = profile_text(cluster, partition).encode()
    make_folder(target.absolute().parent)
    if force:
        write_bytes(target, data)
    elif not create_bytes(target, data):
        raise ConfigError(f"{target} is there already", "add --force to replace it, or choose another name")
    return target


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
    """The command: look, show, and write a profile if asked to.

    Args:
        root: where studies lie.
        more: findings of others.
        say: prints a line.
        as_json: print one JSON object instead of a table.
        name: of a profile in the user's folder.
        out: file of a profile.
        partition: that the profile uses.
        force: whether a profile that is there is replaced.

    Returns:
        The exit code.
    """
    report = examine(root, more)
    target = out or (user_folder() / f"{checked_name(name)}.yaml" if name else None)
    if not as_json:
        show(report)
    if target is not None:
        write_profile(report.cluster, target, partition, force=force)
    if as_json:
        echo(json.dumps(report.to_json() | {"profile": str(target) if target else None}, indent=1))
    elif target is not None:
        echo(f"wrote {target}; next: nllgen submit --grid smoke --profile {name or target} --dry-run")
    elif report.can_submit:
        echo("next: nllgen doctor --write NAME makes a profile of this cluster")
    return report.exit_code


def checked_name(name: str) -> str:
    """The name of a profile.

    Raises:
        ConfigError: it is a path, or would not be found again.
    """
    plain = name.removesuffix(".yaml")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", plain):
        raise ConfigError(f"{name!r} is no name of a profile", "letters, digits, - and _; --out PATH takes a path")
    return plain


def show(report: Report) -> None:
    """A table of findings, problems told in full."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "what", "found", "means"):
        table.add_column(heading, overflow="fold")
    section = ""
    for finding in report.findings:
        if finding.section != section:
            section = finding.section
            table.add_row("", Text(section, style="bold"), "", "")
        means = finding.means + (f" → {finding.todo}" if finding.todo else "")
        table.add_row(Text(finding.level, style=_STYLE[finding.level]), f"  {finding.name}", finding.value, means)
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False, markup=False)
    console.print(table)
    counts = {level: sum(finding.level == level for finding in report.findings) for level in _STYLE}
    console.print(f"{counts['ok']} ok, {counts['note']} to know, {counts['problem']} to solve", end="; ")
    console.print(
        "studies can be sent to Slurm from here" if report.can_submit else "no study can be sent to Slurm from here"
    )
