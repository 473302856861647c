"""The page of a report: its links, its rows, and text that could be taken for code."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape

import pandas as pd
import pytest
from nllgen_analysis import ReportPaths, write_report

from nllgen.storage.study_file import StudyFile, write_study
from tests.analysis.conftest import DIVERGED, MISSING, build_study, default_cells, make_cell
from tests.analysis.parsed import Page

ATTACKS = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7*7 }}")


def test_html_has_no_external_references(written: ReportPaths) -> None:
    text = written.html.read_text()
    page = Page(text)
    assert page.values("src") == []
    assert all(value.startswith(("#", "data:image/png;base64,")) for value in page.values("xlink:href"))
    assert not [value for value in page.values("href") if ":" in value or value.startswith("/")]
    assert "url(" not in text.replace("url(#", "")


def test_html_has_a_row_and_an_anchor_for_every_cell(written: ReportPaths, spoilt: StudyFile) -> None:
    ids = Page(written.html.read_text()).values("id")
    assert len(ids) == len(set(ids))
    for role, cell in zip(spoilt.cells["role"], spoilt.cells["id"], strict=True):
        assert f"{role}-{cell}" in ids


def test_html_links_have_targets(written: ReportPaths) -> None:
    page = Page(written.html.read_text())
    links = {value for name in ("href", "xlink:href") for value in page.values(name) if value.startswith("#")}
    assert {value[1:] for value in links} <= set(page.values("id"))
    files = {value for value in page.values("href") if not value.startswith("#")}
    assert len(files) > 40
    assert all((written.html.parent / name).is_file() for name in files)


def test_html_describes_the_study(written: ReportPaths) -> None:
    assert "30 cells in 10 groups: degrees U2, W, W from truth, O1; paradigms nll, nsgan;" in written.html.read_text()
    assert "3 seeds (0…2). A truth was trained first." in written.html.read_text()


def test_html_lists_figures_that_are_not_drawn(written: ReportPaths) -> None:
    assert "frechet_inception" in written.not_drawn
    assert "Not drawn" in written.html.read_text()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> ReportPaths:
    """The report of a study with one seed; its name has every attack, and each of its three hosts is one."""
    folder = tmp_path_factory.mktemp("hostile")
    study = replace(build_study([make_cell("W"), make_cell("W", "nsgan")], samples=1), name=" ".join(ATTACKS))
    study.cells["host"][:] = ATTACKS
    write_study(folder / "study.h5", study)
    return write_report(folder / "study.h5", folder / "out")


def test_hostile_text_stays_text(hostile: ReportPaths) -> None:
    text = hostile.html.read_text()
    page = Page(text)
    assert [attrs for tag, attrs in page.tags if tag == "script" and "type" not in attrs] == [{}]
    assert not page.values("onerror")
    assert page.values("src") == []
    (heading,) = re.findall(r"<h1>(.*?)</h1>", text)
    assert "49" not in heading
    assert unescape(heading) == " ".join(ATTACKS)
    assert all(f">{attack}<" in unescape(text) for attack in ATTACKS)


def test_missing_and_diverged_cells_are_shown(written: ReportPaths) -> None:
    text = written.html.read_text()
    rows = [attrs.get("class") for tag, attrs in Page(text).tags if tag == "tr" and "class" in attrs]
    assert (rows.count("missing"), rows.count("diverged")) == (1, len(DIVERGED))
    assert "1 of 30 cells have no result" in text
    assert "2 of 30 cells diverged" in text
    outcomes = pd.read_csv(written.tables[0]).set_index("id")["outcome"]
    assert outcomes.value_counts()["missing"] == 1
    assert outcomes[default_cells()[MISSING].id] == "missing"


def test_a_single_seed_has_no_interval(hostile: ReportPaths) -> None:
    assert "one seed, no interval" in hostile.html.read_text()
    final = pd.read_csv(hostile.tables[0].parent / "final.csv")
    assert final["low"].isna().all()
    assert set(final["note"]) == {"one seed, no interval"}
