"""The assets as findings of the doctor."""

from __future__ import annotations

from pathlib import Path

from nllgen.assets import status
from nllgen.doctor.probe import Finding


def asset_findings(assets: Path) -> list[Finding]:
    """Return a finding per asset; the four files of MNIST are one.

    Args:
        assets: directory of fetched assets.
    """
    findings = []
    files = status(assets)
    for directory in dict.fromkeys(file.path.parent for file in files):
        parts = [file for file in files if file.path.parent == directory]
        bad = [f"{file.name} {file.state}" for file in parts if not file.is_present]
        if bad:
            hint = f"nllgen assets fetch {directory.name}"
            findings.append(Finding("assets", directory.name, ", ".join(bad), "note", parts[0].why, hint))
        else:
            findings.append(Finding("assets", directory.name, str(directory), "ok", parts[0].why))
    return findings
