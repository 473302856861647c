"""LaTeX tables as text, and compiled by pdfLaTeX if it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from nllgen_analysis import ReportPaths
from nllgen_analysis.latex import to_latex

DOCUMENT = r"""\documentclass[a4paper]{article}
\usepackage[margin=25mm]{geometry}
\usepackage{array,booktabs,longtable}
\begin{document}
%s
\end{document}
"""


@pytest.fixture(scope="session")
def pdflatex() -> str:
    """The command; without it tests are skipped, or fail if NLLGEN_REQUIRE_LATEX is 1."""
    result = shutil.which("pdflatex")
    if result is None:
        reason = "NOT TESTED: needs pdfLaTeX with booktabs (tests/analysis/programs-up installs it on Debian)"
        if os.environ.get("NLLGEN_REQUIRE_LATEX") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return result


def compiled(pdflatex: str, folder: Path, tables: list[bytes]) -> str:
    """Compile a document with these tables twice, as longtable needs, and return the log."""
    (folder / "all.tex").write_bytes(DOCUMENT.encode() % b"\n\n".join(tables))
    for _ in range(2):
        command = [pdflatex, "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=120)
        assert done.returncode == 0, done.stdout.decode("latin-1")[-2000:]
    assert (folder / "all.pdf").read_bytes().startswith(b"%PDF-")
    return (folder / "all.log").read_text("latin-1")


def test_every_table_of_a_report_compiles_and_fits_a_page(pdflatex: str, written: ReportPaths, tmp_path: Path) -> None:
    tables = sorted(path for path in written.tables if path.suffix == ".tex")
    assert [path.stem for path in tables] == ["claims", "final", "provenance", "resources"]
    log = compiled(pdflatex, tmp_path, [path.read_bytes() for path in tables])
    assert "Overfull" not in log


def test_hostile_text_compiles(pdflatex: str, tmp_path: Path) -> None:
    """In a table that fits a page, and in one that does not."""
    row = {"what": r"\input{x} $%&#_{}~^ <b> 中 ñ ρ …" + "f" * 64, "± é": "3 ± 1"}
    tables = [to_latex(pd.DataFrame([row] * rows), "100 % of\n\\it", {"what": 0.4}) for rows in (1, 60)]
    compiled(pdflatex, tmp_path, tables)


def test_a_long_word_is_broken_in_a_wrapped_column() -> None:
    text = to_latex(pd.DataFrame({"value": ["a" * 40]}), "", {"value": 0.5}).decode()
    assert "a" * 16 + r"\allowbreak{}" + "a" * 16 + r"\allowbreak{}" + "a" * 8 in text


def test_numbers_are_aligned_to_the_right() -> None:
    table = pd.DataFrame({"name": ["W"], "value": ["−1,234.5 ± 2"], "none": ["–"], "1e9": ["3.20e+09"]})
    assert r"\begin{tabular}{lrrr}" in to_latex(table, "").decode()


def test_latex_is_booktabs_and_escaped() -> None:
    text = to_latex(pd.DataFrame({"what": [r"50%_of\the &{#$^~}"], "± é": ["3 ± 1"]}), "a\ncaption").decode()
    assert r"\toprule" in text
    assert r"50\%\_of\textbackslash the \&\{\#\$" in text
    assert r"3 $\pm$ 1" in text
    assert text.startswith("% a caption\n")
    assert text.isascii()


def test_long_latex_table_breaks_over_pages() -> None:
    assert r"\begin{longtable}" in to_latex(pd.DataFrame({"a": ["x"] * 50}), "long").decode()
