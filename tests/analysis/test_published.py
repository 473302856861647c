"""The published study: its report is what its study.h5 gives, number by number, and its page says what it says."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from nllgen_analysis.claims import judge
from nllgen_analysis.claims.tables import printed_verdicts
from nllgen_analysis.frames import Frames, load_frames
from nllgen_analysis.report import write_report
from nllgen_analysis.statistics import mean_interval

from nllgen.study.claims import claims_sha256

REPOSITORY = Path(__file__).parents[2]
PUBLISHED = REPOSITORY / "docs" / "results"
RTOL = 1e-6  # a mean in another order of summation, not another mean
MAX_BYTES = 40_000_000


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("rebuilt")
    write_report(PUBLISHED / "study.h5", out)
    return out


@pytest.fixture(scope="module")
def frames() -> Frames:
    return load_frames(PUBLISHED / "study.h5")


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_same_files_come_out_of_the_published_study(rebuilt: Path) -> None:
    assert names(rebuilt) == names(PUBLISHED / "report")


def test_every_number_of_every_figure_and_table_comes_out_again(rebuilt: Path) -> None:
    tables = sorted(rebuilt.rglob("*.csv"))
    assert len(tables) > 25
    for path in tables:
        ours, theirs = (pd.read_csv(p) for p in (path, PUBLISHED / "report" / path.relative_to(rebuilt)))
        pd.testing.assert_frame_equal(ours, theirs, rtol=RTOL, atol=1e-9, obj=path.name)


def test_every_caption_comes_out_again(rebuilt: Path) -> None:
    for path in sorted((rebuilt / "figures").glob("*.txt")):
        assert path.read_text() == (PUBLISHED / "report" / "figures" / path.name).read_text(), path.name


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, float) and isinstance(theirs, float):
        return math.isclose(ours, theirs, rel_tol=RTOL, abs_tol=1e-9)
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(same(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return bool(ours == theirs)


def test_every_verdict_comes_out_again(rebuilt: Path) -> None:
    ours, theirs = (json.loads((folder / "verdicts.json").read_text()) for folder in (rebuilt, PUBLISHED / "report"))
    assert [claim["id"] for claim in ours["claims"]] == [f"C{n}" for n in range(9)]
    assert same(ours, theirs)
    assert not same({"effect": 1.0}, {"effect": 1.0 + 3 * RTOL})


def test_the_rules_are_those_that_were_registered_before_the_run() -> None:
    rules = json.loads((PUBLISHED / "report" / "verdicts.json").read_text())["rules"]
    assert (rules["status"], rules["registered_sha256"]) == ("registered", claims_sha256())


def test_the_study_is_whole_and_of_one_program_and_image(frames: Frames) -> None:
    assert (PUBLISHED / "study.h5").stat().st_size <= MAX_BYTES
    assert frames.counts == {"done": len(frames.cells) - 1, "diverged": 0, "missing": 0}
    assert frames.cells["code_sha256"].nunique() == frames.cells["image_sha256"].nunique() == 1
    assert (frames.cells["image_sha256"].str.len() == 64).all()


def test_the_page_says_what_the_verdicts_say(frames: Frames) -> None:
    rows = re.findall(r"^\| (C\d[a-d]?) \|(.*)\|$", (PUBLISHED / "README.md").read_text(), re.MULTILINE)
    told = {name: [cell.strip(" *") for cell in cells.split("|")] for name, cells in rows}
    for row in printed_verdicts(judge(frames)).itertuples(index=False):
        assert told[row.claim][-3:] == [row.verdict, row.effect, row.interval], row.claim


def test_every_number_that_the_page_takes_from_a_figure_is_in_its_caption() -> None:
    """A quotation ``> … (name)`` is a piece of the caption of the figure of that name."""
    quoted = re.findall(r"^> (.+) \(\[([a-z0-9_]+)\]\([^)]+\)\)$", (PUBLISHED / "README.md").read_text(), re.MULTILINE)
    assert len(quoted) >= 5
    for words, name in quoted:
        caption = re.sub(r" \[\d+\]", "", (PUBLISHED / "report" / "figures" / f"{name}.txt").read_text())
        for piece in words.split(" … "):
            assert piece in caption, (name, piece)


def test_the_picture_of_every_claim_is_there() -> None:
    links = re.findall(r"\]\((report/[^)]+)\)", (PUBLISHED / "README.md").read_text())
    assert len(set(links)) >= 9
    assert not [link for link in links if not (PUBLISHED / link).is_file()]


def test_no_number_was_lost_on_the_way_to_the_file(frames: Frames) -> None:
    done = frames.cells[(frames.cells["role"] != "truth") & (frames.cells["source"] == "synthetic")]
    last = frames.final[(frames.final["weights"] == "last") & frames.final["cell"].isin(done.index)]
    assert len(last) == len(done)
    assert np.isfinite(last[["kl_nats", "kl_se_nats", "jsd_nats", "frechet_lenet"]].astype(float)).all().all()


def test_numbers_that_the_page_tells_beside_the_verdicts_are_those_of_the_study(frames: Frames) -> None:
    """What no figure or table says: derived here from study.h5, as the page says how."""
    page = " ".join((PUBLISHED / "README.md").read_text().split())
    started = frames.eval[(frames.eval["start"] == "truth") & (frames.eval["weights"] == "raw")]
    started = started[started["paradigm"].isin(["nll", "nsgan"])]
    left = started.loc[(started["paradigm"] == "nsgan") & (started["step"] == 50), "kl_nats"]
    assert f"left, by {left.min():,.0f} to {left.max():,.0f} nats within 50 steps" in page
    assert started.loc[started["paradigm"] == "nll", "kl_nats"].max() <= 2.7
    ends = started[started["step"] == started["step"].max()]
    control = ends[ends["paradigm"] == "nll"].set_index("seed")["kl_nats"]
    for variant, words in (("zero", "10.8 (8.6 … 13.0) at 0"), ("pretrained", "8.6 (7.2 … 9.9) pretrained")):
        arm = ends[ends["variant"] == f"disc_start={variant}"].set_index("seed")["kl_nats"]
        found = mean_interval(np.log(arm / (3 * control)))
        assert f"{found.mean:.1f} ({found.low:.1f} … {found.high:.1f})" in words
        assert words in page


def test_what_the_page_says_of_overfitting_and_overlap_is_so(frames: Frames) -> None:
    well = frames.eval[(frames.eval["student"] == "W") & (frames.eval["num_train"] == "500")]
    by_cell = well[(well["paradigm"] == "nll") & (well["weights"] == "raw")].groupby("cell")
    nll, image = (
        (by_cell[name].last() - by_cell[name].min()) / (by_cell[name].first() - by_cell[name].min())
        for name in ("val_nll_nats", "frechet_lenet")
    )
    assert (round(nll.min()), round(nll.max())) == (11, 18)
    assert image.max() <= 0.02
    last = frames.final[(frames.final["weights"] == "last") & np.isfinite(frames.final["jsd_nats"].astype(float))]
    away = last[(last["degree"] != "W*") & ~((last["start"] == "truth") & (last["paradigm"] == "nll"))]
    assert (math.log(2) - away["jsd_nats"]).max() <= 4e-4
