"""Output of Slurm's programs, as several versions printed it."""

from __future__ import annotations

from pathlib import Path

RECORDED = Path(__file__).parent / "slurm_output"


def recorded(name: str) -> str:
    return (RECORDED / name).read_text("utf-8")
