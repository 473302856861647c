"""Output of Slurm's programs, as several versions printed it."""

from __future__ import annotations

from pathlib import Path


def recorded(name: str) -> str:
    return (Path(__file__).parent / "slurm_output" / name).read_text("utf-8")
