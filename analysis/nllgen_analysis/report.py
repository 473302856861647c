"""Write the report of a study.h5: figures with their data, tables, verdicts.json and report.html."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from nllgen.storage.atomic import make_folder, write_bytes
from nllgen.storage.checksum import read_verified, verify_checksum
from nllgen.study.tuning import FILE_NAME
from nllgen_analysis import tables
from nllgen_analysis.claims import Judged, judge
from nllgen_analysis.claims.tables import printed_verdicts, verdict_lines, verdicts_json, verdicts_table
from nllgen_analysis.figure_files import write_figures
from nllgen_analysis.findings import findings
from nllgen_analysis.frames import Frames, load
from nllgen_analysis.html import render_report
from nllgen_analysis.latex import to_latex
from nllgen_analysis.text import CONDITION
from nllgen_analysis.trials import Trials, read_trials, trial_sentences

# columns of texts beside the numbers of a group, as shares of a line
NARROW = {"degree": 0.1, "data": 0.12}


@dataclass(frozen=True)
class ReportPaths:
    """The files of a report, and its summary."""

    html: Path
    verdicts: Path  # verdicts.json
    figures: tuple[Path, ...]  # PDF, PNG, CSV and caption of every drawn figure
    tables: tuple[Path, ...]  # CSV and LaTeX
    not_drawn: dict[str, str]  # reason for each figure without data
    lines: tuple[str, ...]  # the verdicts and the status of their rules for a terminal
    findings: tuple[str, ...]


def write_report(
    study_h5: Path, out: Path, *, processes: int = 1, progress: Callable[[int, int], None] | None = None
) -> ReportPaths:
    """Write the report of the file that ``nllgen collect`` wrote, and replace files of an older report.

    Args:
        study_h5: the file.
        out: directory of the report.
        processes: that draw figures at once.
        progress: is told how many of how many families of figures are drawn.

    Raises:
        CorruptFileError: study_h5 is missing, damaged or another file.
        SchemaError: study_h5 was written with another schema.
        MachineError: out is a file, is read-only, or the disk is full.
    """
    frames, sha256 = _load(study_h5)
    judged = judge(frames)
    trials = read_trials(frames, sha256) if frames.is_tuning else None
    sentences = trial_sentences(trials, f"{out}/{FILE_NAME}") if trials else findings(frames, judged)
    make_folder(out)
    figures = write_figures(frames, make_folder(out / "figures"), processes, progress)
    table_paths = _write_tables(frames, judged, make_folder(out / "tables"))
    if trials:
        table_paths += _write_trials(trials, out)
    verdicts = out / "verdicts.json"
    write_bytes(verdicts, _json(verdicts_json(judged)))
    html = out / "report.html"
    # last, so that a new report.html never stands beside old files
    page = render_report(frames, judged, sentences, figures.shown, figures.absent, sha256, trials)
    write_bytes(html, page.encode())
    not_drawn = {item.name: item.reason for item in figures.absent}
    lines = (*verdict_lines(judged), judged.status_text)
    return ReportPaths(html, verdicts, tuple(figures.paths), tuple(table_paths), not_drawn, lines, tuple(sentences))


def _load(study_h5: Path) -> tuple[Frames, str]:
    """Return the study and the SHA-256 of its bytes; read it again if ``collect`` replaces the file meanwhile."""
    while True:
        identity = verify_checksum(study_h5).identity
        sha256, frames = hashlib.sha256(read_verified(study_h5)).hexdigest(), load(study_h5)
        if verify_checksum(study_h5).identity == identity:
            return frames, sha256


def _write_tables(frames: Frames, judged: Judged, directory: Path) -> list[Path]:
    contents = {
        "cells.csv": tables.to_csv(tables.cells_table(frames)),
        "groups.csv": tables.to_csv(tables.groups_table(frames)),
        "evaluations.csv": tables.to_csv(frames.eval),
        "final.csv": tables.to_csv(tables.final_table(frames)),
        "datasets.csv": tables.to_csv(frames.datasets),
        "claims.csv": tables.to_csv(verdicts_table(judged)),
        "resources.csv": tables.to_csv(tables.resources_table(frames)),
        "provenance.csv": tables.to_csv(tables.provenance_table(frames)),
        **_latex_tables(frames, judged),
    }
    for name, data in contents.items():
        write_bytes(directory / name, data)
    return [directory / name for name in contents]


def _write_trials(trials: Trials, out: Path) -> list[Path]:
    """Write the table of the trials, and the file that another study names once every trial has a result.

    Until then the file of an older report would name winners of other trials, and is removed.
    """
    table = out / "tables" / "trials.csv"
    write_bytes(table, tables.to_csv(trials.table))
    if trials.content is None:
        (out / FILE_NAME).unlink(missing_ok=True)
    else:
        write_bytes(out / FILE_NAME, trials.content)
    return [table]


def _latex_tables(frames: Frames, judged: Judged) -> dict[str, bytes]:
    final = f"{frames.name}: final metrics on the test split, mean ± half the 95 % t interval over seeds, {CONDITION}"
    claims = f"{frames.name}: claims. {judged.status_text}"
    resources = f"{frames.name}: what training took, without measuring; device with its number of threads"
    return {
        "final.tex": to_latex(_with_variant(tables.printed_table(frames)), final, NARROW),
        "claims.tex": to_latex(printed_verdicts(judged), claims, wrapped={"statement": 0.34, "unit": 0.1}),
        "resources.tex": to_latex(_with_variant(tables.printed_resources(frames)), resources, NARROW),
        "provenance.tex": to_latex(tables.provenance_table(frames), f"{frames.name}: provenance", {"value": 0.55}),
    }


def _with_variant(table: pd.DataFrame) -> pd.DataFrame:
    """Append the variant to the degree, as a printed page has no space for a column of its own."""
    if "variant" not in table or table.empty:
        return table.drop(columns="variant", errors="ignore")
    named = table["degree"].str.cat(table["variant"], sep=" ").str.strip()
    return table.assign(degree=named).drop(columns="variant")


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
