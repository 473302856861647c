"""The published studies: reports are reproduced number by number, and pages agree with them."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
from nllgen_analysis.claims import judge
from nllgen_analysis.claims.tables import printed_verdicts
from nllgen_analysis.frames import Frames, load
from nllgen_analysis.report import write_report

from nllgen.study.claims import claims_sha256

RESULTS = Path(__file__).parents[2] / "docs" / "results"


class Published(NamedTuple):
    """A published study and the least content of its page."""

    folder: Path
    claims: set[str]
    num_tables: int
    num_quoted: int
    num_links: int
    in_image: bool


STUDIES = {
    "laptop": Published(RESULTS / "laptop", {f"C{n}" for n in range(9)}, 26, 5, 9, in_image=True),
    "equilibrium": Published(RESULTS / "equilibrium", {"C2"}, 15, 3, 3, in_image=False),
}
RTOL = 1e-6  # a mean in another order of summation, not another mean
MAX_BYTES = 40_000_000


@pytest.fixture(scope="module", params=list(STUDIES.values()), ids=list(STUDIES))
def published(request: pytest.FixtureRequest) -> Published:
    study: Published = request.param
    return study


@pytest.fixture(scope="module")
def rebuilt(published: Published, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("rebuilt")
    write_report(published.folder / "study.h5", out)
    return out


@pytest.fixture(scope="module")
def frames(published: Published) -> Frames:
    return load(published.folder / "study.h5")


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_published_study_gives_the_published_files(rebuilt: Path, published: Published) -> None:
    assert names(rebuilt) == names(published.folder / "report")


def test_every_number_of_figures_and_tables_is_reproduced(rebuilt: Path, published: Published) -> None:
    tables = sorted(rebuilt.rglob("*.csv"))
    assert len(tables) >= published.num_tables
    for path in tables:
        ours, theirs = (pd.read_csv(p) for p in (path, published.folder / "report" / path.relative_to(rebuilt)))
        pd.testing.assert_frame_equal(ours, theirs, rtol=RTOL, atol=1e-9, obj=path.name)


def test_every_caption_is_reproduced(rebuilt: Path, published: Published) -> None:
    for path in sorted((rebuilt / "figures").glob("*.txt")):
        assert path.read_text() == (published.folder / "report" / "figures" / path.name).read_text(), path.name


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, float) and isinstance(theirs, float):
        return math.isclose(ours, theirs, rel_tol=RTOL, abs_tol=1e-9)
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(same(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return bool(ours == theirs)


def test_every_verdict_is_reproduced(rebuilt: Path, published: Published) -> None:
    ours, theirs = (
        json.loads((folder / "verdicts.json").read_text()) for folder in (rebuilt, published.folder / "report")
    )
    assert [claim["id"] for claim in ours["claims"]] == [f"C{n}" for n in range(9)]
    assert same(ours, theirs)
    assert not same({"effect": 1.0}, {"effect": 1.0 + 3 * RTOL})


def test_the_rules_are_those_that_were_registered_before_the_run(published: Published) -> None:
    rules = json.loads((published.folder / "report" / "verdicts.json").read_text())["rules"]
    assert (rules["status"], rules["registered_sha256"]) == ("registered", claims_sha256(1))


def test_the_study_is_complete_and_made_by_one_version_of_the_code(frames: Frames, published: Published) -> None:
    assert (published.folder / "study.h5").stat().st_size <= MAX_BYTES
    assert frames.counts == {"done": len(frames.cells) - 1, "diverged": 0, "missing": 0}
    assert frames.cells["code_sha256"].nunique() == frames.cells["container_sha256"].nunique() == 1
    assert (frames.cells["container_sha256"].str.len() == (64 if published.in_image else 0)).all()


def test_the_page_has_the_verdicts(frames: Frames, published: Published) -> None:
    rows = re.findall(r"^\| (C\d[a-d]?) \|(.*)\|$", (published.folder / "README.md").read_text(), re.MULTILINE)
    told = {name: [cell.strip(" *") for cell in cells.split("|")] for name, cells in rows}
    assert published.claims <= set(told)
    verdicts = [
        row for row in printed_verdicts(judge(frames)).itertuples(index=False) if row.claim[:2] in published.claims
    ]
    for row in verdicts:
        assert told[row.claim][-3:] == [row.verdict, row.effect, row.interval], row.claim


def test_every_number_that_the_page_takes_from_a_figure_is_in_its_caption(published: Published) -> None:
    """A quotation ``> … (name)`` is a piece of the caption of the figure of that name."""
    quoted = re.findall(
        r"^> (.+) \(\[([a-z0-9_]+)\]\([^)]+\)\)$", (published.folder / "README.md").read_text(), re.MULTILINE
    )
    assert len(quoted) >= published.num_quoted
    for words, name in quoted:
        caption = re.sub(r" \[\d+\]", "", (published.folder / "report" / "figures" / f"{name}.txt").read_text())
        for piece in words.split(" … "):
            assert piece in caption, (name, piece)


def test_every_linked_figure_exists(published: Published) -> None:
    links = re.findall(r"\]\((report/[^)]+)\)", (published.folder / "README.md").read_text())
    assert len(set(links)) >= published.num_links
    assert not [link for link in links if not (published.folder / link).is_file()]
