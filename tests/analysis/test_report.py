"""The report as files."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from nllgen_analysis import Frames, ReportPaths, load, report, write_report
from nllgen_analysis.claims import Judged
from nllgen_analysis.figures import draw_all
from scipy import stats

from nllgen.errors import CorruptFileError, MachineError
from nllgen.storage.study_file import StudyFile, write_study
from nllgen.study.config import Cell
from tests.analysis.conftest import STEPS, build_study, kl, make_cell
from tests.analysis.parsed import Page

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def again(
    decided: tuple[ReportPaths, list[Cell]], spoilt: StudyFile, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ReportPaths, float]:
    """``written`` a second time, and its CPU time in seconds without imports."""
    folder = tmp_path_factory.mktemp("again")
    write_study(folder / "study.h5", spoilt)
    start = time.process_time()  # not wall time, as other processes may use the machine
    return write_report(folder / "study.h5", folder / "out"), time.process_time() - start


def test_every_listed_file_exists_and_is_not_trivial(written: ReportPaths) -> None:
    suffixes = {path.suffix for path in written.figures}
    assert suffixes == {".pdf", ".png", ".csv", ".txt"}
    assert {path.suffix for path in written.tables} == {".csv", ".tex"}
    for path in (*written.figures, *written.tables, written.html, written.verdicts):
        assert path.stat().st_size > (5_000 if path.suffix in {".png", ".pdf", ".html"} else 20), path
    for path in written.figures:
        magic = {".pdf": b"%PDF-", ".png": b"\x89PNG"}.get(path.suffix, b"")
        assert path.read_bytes().startswith(magic)


def test_every_family_is_drawn(written: ReportPaths) -> None:
    families = {"nll_curves", "convergence", "overfit", "frechet_lenet", "nll_frechet", "kl_capacity", "cost"}
    families |= {"nash", "samples"}
    names = {path.stem for path in written.figures}
    assert all(any(name.startswith(family) for name in names) for family in families)


def test_figure_csv_holds_the_plotted_numbers(written: ReportPaths) -> None:
    path = next(path for path in written.figures if path.name == "nll_curves_synthetic_1000.csv")
    data = pd.read_csv(path)
    end = data[(data["panel"] == "nll, validation images") & (data["kind"] == "mean") & (data["x"] == 1000)]
    assert end.set_index("series").loc["W", "value"] == pytest.approx(-300 + 21 + 800 * np.exp(-1000 / 120))


def test_three_seeds_decide_no_claim(written: ReportPaths) -> None:
    """Three seeds are too few for every claim."""
    verdicts = json.loads(written.verdicts.read_text())
    assert verdicts["schema"] == 2
    assert [claim["id"] for claim in verdicts["claims"]] == [f"C{i}" for i in range(9)]
    assert {claim["verdict"] for claim in verdicts["claims"]} == {"undecided"}
    assert all(claim["why"] for claim in verdicts["claims"])


@pytest.fixture(scope="module")
def decided(tmp_path_factory: pytest.TempPathFactory) -> tuple[ReportPaths, list[Cell]]:
    """The report of a study with five seeds, so that some claims are decided, and its cells."""
    folder = tmp_path_factory.mktemp("decided")
    cells = [make_cell(degree, seed=seed) for degree in ("U2", "W", "O1") for seed in range(5)]
    write_study(folder / "study.h5", build_study(cells, samples=1))
    return write_report(folder / "study.h5", folder / "out"), cells


def test_a_summary_key_numbers_names_and_one_figure_come_before_the_verdicts(
    decided: tuple[ReportPaths, list[Cell]],
) -> None:
    text = decided[0].html.read_text()
    parts = ["summary", "key-numbers", "names", "figure-kl_capacity", "verdicts", "figures", "final", "cells"]
    places = [text.index(f'id="{name}"') for name in parts]
    assert places == sorted(places)


def test_the_status_of_the_rules_is_on_the_page(decided: tuple[ReportPaths, list[Cell]]) -> None:
    text = decided[0].html.read_text()
    assert 'class="rules unregistered"' in text
    assert "p (Holm)" in text


def test_a_verdict_links_to_the_cells_behind_it(decided: tuple[ReportPaths, list[Cell]]) -> None:
    paths, cells = decided
    c5 = next(claim for claim in json.loads(paths.verdicts.read_text())["claims"] if claim["id"] == "C5")
    assert c5["verdict"] == "refuted"  # W is better than U2 by 20 nats in every seed
    logs = np.log([kl(make_cell("W", seed=s), STEPS) / kl(make_cell("U2", seed=s), STEPS) for s in range(5)])
    interval = stats.ttest_1samp(logs, 0).confidence_interval()
    assert (c5["effect"], c5["interval"]) == (pytest.approx(logs.mean()), pytest.approx(list(interval)))
    assert c5["p_value"] == pytest.approx(stats.ttest_1samp(logs, 0).pvalue)
    assert set(c5["cells"]) == {cell.id for cell in cells if cell.degree in ("U2", "W")}
    hrefs = Page(paths.html.read_text()).values("href")
    assert {f"#cell-{id}" for id in c5["cells"]} <= set(hrefs)


def test_verdicts_are_a_table_as_well(decided: tuple[ReportPaths, list[Cell]]) -> None:
    folder = decided[0].tables[0].parent
    table = pd.read_csv(folder / "claims.csv").set_index("claim")
    assert table.loc["C5", "verdict"] == "refuted"
    assert table.loc["C5: last weights: W against U2", "effect"] == pytest.approx(table.loc["C5", "effect"])
    assert table.loc["C5", "p_holm"] == pytest.approx(8 * table.loc["C5", "p_value"])  # after C8
    assert "C7d & worse images" in (folder / "claims.tex").read_text()


def test_verdicts_are_lines_for_the_terminal(decided: tuple[ReportPaths, list[Cell]]) -> None:
    lines = decided[0].lines
    assert any(line.startswith("C5   refuted") for line in lines)
    assert "without registered rules" in lines[-1]


def test_same_study_gives_the_same_report(written: ReportPaths, again: tuple[ReportPaths, float]) -> None:
    ours, theirs = (re.sub(r"SHA-256 <code>\w+", "", paths.html.read_text()) for paths in (again[0], written))
    assert ours == theirs


def test_study_whose_cells_all_diverged_is_reported(saved: Callable[[StudyFile], Path], tmp_path: Path) -> None:
    cells = [make_cell("W", paradigm, start=start) for paradigm in ("nll", "nsgan") for start in ("random", "truth")]
    paths = write_report(saved(build_study(cells, diverged=tuple(range(4)), samples=1)), tmp_path / "out")
    assert "0</b> of 4 done" in paths.html.read_text()
    assert "nll_frechet_lenet" in paths.not_drawn


def test_the_report_names_the_bytes_that_it_read(
    saved: Callable[[StudyFile], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checksum is that of the study that is shown, though ``collect`` replaces the file while it is drawn."""
    path = saved(build_study([make_cell("W")], truth=False, samples=1))
    read = hashlib.sha256(path.read_bytes()).hexdigest()
    newer = build_study([make_cell("W", seed=1)], truth=False, samples=1)

    def replaced(frames: Frames, judged: Judged) -> list[str]:
        write_study(path, newer)
        return []

    monkeypatch.setattr(report, "findings", replaced)
    assert read in write_report(path, tmp_path / "out").html.read_text()
    assert read != hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_study_that_is_replaced_while_it_is_read_is_read_again(
    saved: Callable[[StudyFile], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = make_cell("W"), make_cell("W", seed=1)
    path = saved(build_study([old], truth=False, samples=1))

    def load_then_replace(path: Path) -> Frames:
        frames = load(path)
        if frames.cells["id"].iloc[0] == old.id:
            write_study(path, build_study([new], truth=False, samples=1))
        return frames

    monkeypatch.setattr(report, "load", load_then_replace)
    page = write_report(path, tmp_path / "out").html.read_text()
    assert f"cell-{new.id}" in page
    assert hashlib.sha256(path.read_bytes()).hexdigest() in page


def test_empty_study_is_reported(saved: Callable[[StudyFile], Path], tmp_path: Path) -> None:
    cells = [make_cell("W")]
    study = saved(build_study(cells, missing=(0,), truth=False, samples=0))
    paths = write_report(study, tmp_path / "out")
    assert paths.figures == ()
    assert list(paths.not_drawn) == [figure.name for figure in draw_all(load(study))]


@pytest.mark.slow
def test_1000_cells_take_a_few_times_what_30_take(
    again: tuple[ReportPaths, float], saved: Callable[[StudyFile], Path], tmp_path: Path
) -> None:
    """Relative to the same machine, which may be slowed down by other processes."""
    cells = [
        make_cell(degree, paradigm, seed=seed)
        for degree in ("U3", "U2", "U1", "W", "O1") for paradigm in ("nll", "nsgan")
        for seed in range(100)
    ]  # fmt: skip
    path = saved(build_study(cells, samples=2))
    start = time.process_time()
    paths = write_report(path, tmp_path / "out")
    assert time.process_time() - start < 2.5 * again[1]  # 1.4 measured
    assert paths.html.read_text().count('<tr id="cell-') == 1000


def test_out_that_is_a_file_is_refused(saved: Callable[[StudyFile], Path], study: StudyFile, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(MachineError, match="file"):
        write_report(saved(study), tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_full_disk_is_a_typed_error(
    saved: Callable[[StudyFile], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(build_study([make_cell("W")]))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MachineError, match="No space left"):
        write_report(path, tmp_path / "out")


def test_an_invalid_configuration_is_a_typed_error(saved: Callable[[StudyFile], Path], tmp_path: Path) -> None:
    study = build_study([make_cell("W")])
    study.cells["config"][0] = '{"data": {"source": "nowhere"}}'
    with pytest.raises(CorruptFileError, match="row 0"):
        write_report(saved(study), tmp_path / "out")


def test_a_missing_study_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match="no such file"):
        write_report(tmp_path / "none.h5", tmp_path / "out")


AWAY = """
import sys

def guard(event, args):
    if event == "socket.connect" or (event == "import" and args[0].split(".")[0] == "torch"):
        raise RuntimeError(f"{event} {args}")

sys.addaudithook(guard)
from pathlib import Path
from nllgen_analysis import write_report
write_report(Path(sys.argv[1]), Path(sys.argv[2]))
print(sorted(m for m in sys.modules if m.split('.')[0] == "torch"))
"""


def test_a_study_made_on_another_machine_is_reported_without_torch_network_display_or_assets(
    saved: Callable[[StudyFile], Path], tmp_path: Path
) -> None:
    study = build_study([make_cell("W", seed=s) for s in range(2)], host="gpu-node-17", truth=False)
    study.cells["device"][:], study.cells["container_sha256"][:] = "cuda", "1f" * 32
    study.cells["version"][:] = "0.0.9"
    environment = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "analysis")]), "HOME": str(tmp_path / "none"),
                   "NLLGEN_ASSETS": str(tmp_path / "none"), "MPLCONFIGDIR": matplotlib.get_cachedir()}  # fmt: skip
    command = [sys.executable, "-c", AWAY, str(saved(study)), str(tmp_path / "out")]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, check=True, timeout=300, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"
    page = (tmp_path / "out" / "report.html").read_text()
    assert all(text in page for text in ("gpu-node-17", "1f" * 32, "0.0.9", "cuda"))
    assert "gpu-node-17" in (tmp_path / "out" / "tables" / "provenance.tex").read_text()
