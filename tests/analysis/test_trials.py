"""The report of a tuning study: its winners, the file that another study names, and no verdicts."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nllgen_analysis import ReportPaths, write_report
from nllgen_analysis.frames import to_frames
from nllgen_analysis.trials import read_trials, trial_sentences

from nllgen.errors import CorruptFileError
from nllgen.storage.checksum import read_verified
from nllgen.storage.hdf5_data import Array
from nllgen.storage.study_file import write_study
from nllgen.study.config import Cell, DataConfig, HybridConfig, NLLConfig, NSGANConfig
from nllgen.study.degrees import student
from nllgen.study.load import load_study
from nllgen.study.tuning import Tuning, tuning_bytes
from tests.analysis.conftest import STEPS, TRUTH_FLOW, Override, build_study

DATA = DataConfig(image_size=14, num_val=100, num_test=100)
RATES = (1e-3, 3e-3)
SEEDS = (100, 101)


def trials(num_games: int = 2) -> list[Cell]:
    kinds: list[NLLConfig | NSGANConfig] = [NLLConfig(steps=STEPS, lr=rate) for rate in RATES]
    kinds += [NSGANConfig(steps=STEPS, r1_gamma=gamma) for gamma in (0.0, 10.0)[:num_games]]
    flow = student(TRUTH_FLOW, "W")
    return [Cell(data=DATA, flow=flow, paradigm=kind, seed=seed) for kind in kinds for seed in SEEDS]


def replace_paradigm(cell: Cell, paradigm: NSGANConfig | HybridConfig) -> Cell:
    return cell.model_copy(update={"paradigm": paradigm})


def distances(cell: Cell, step: Array) -> dict[str, Any]:
    """Let every distance fall to a value that depends on the setting: 20 and 10 of NLL, 60 and 50 of the games."""
    paradigm = cell.paradigm
    is_first = paradigm.lr == RATES[0] or (isinstance(paradigm, NSGANConfig) and not paradigm.r1_gamma)
    end = {"nll": 10.0}.get(paradigm.name, 50.0) + 10.0 * is_first + cell.seed % 100
    return {"frechet_lenet": end + 5 * (1 - np.asarray(step, float) / STEPS)}


def report(folder: Path, cells: list[Cell], override: Override = distances, **settings: Any) -> ReportPaths:
    write_study(
        folder / "study.h5", build_study(cells, purpose="tuning", truth=False, samples=0, override=override, **settings)
    )
    return write_report(folder / "study.h5", folder / "out")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> ReportPaths:
    return report(tmp_path_factory.mktemp("tuning"), trials())


def tuning_of(paths: ReportPaths) -> Tuning:
    return Tuning.model_validate_json((paths.html.parent / "tuning.json").read_bytes())


def test_every_configuration_is_a_trial_with_the_mean_over_its_seeds(written: ReportPaths) -> None:
    tuning = tuning_of(written)
    assert [(trial.cell.paradigm.name, trial.frechet["raw"]) for trial in tuning.trials] == [
        ("nll", 20.5), ("nll", 10.5), ("nsgan", 60.5), ("nsgan", 50.5)
    ]  # fmt: skip
    assert {trial.seeds for trial in tuning.trials} == {SEEDS}


def test_the_winners_are_named_with_their_budgets(written: ReportPaths) -> None:
    nll, nsgan, *_ = written.findings
    assert "lr 0.003 wins with a mean Fréchet distance of 10.5 on validation" in nll
    assert "r1_gamma 10.0 wins" in nsgan
    assert "of 2 configurations in 4 runs" in nll


def test_no_claim_is_judged(written: ReportPaths) -> None:
    assert json.loads(written.verdicts.read_text())["claims"] == []
    assert "no claim is judged" in written.html.read_text()
    assert 'id="verdict-table"' not in written.html.read_text()


def test_the_page_has_the_trials(written: ReportPaths) -> None:
    assert written.html.read_text().count("wins</td>") == 2


def test_a_study_takes_the_winners_with_the_line_that_is_printed(written: ReportPaths, tmp_path: Path) -> None:
    line = written.findings[-1].split("`")[1]
    grid = tmp_path / "judged.yaml"
    cell = "{data: {image_size: 14, num_val: 100, num_test: 100}, flow: {width: %d, blocks: %d}, precision: fp32, "
    cell = cell % (TRUTH_FLOW.width, TRUTH_FLOW.blocks) + "paradigm: {name: [nll, nsgan], tuned: true}, seed: 0}"
    grid.write_text(f"name: judged\n{line}\ncells:\n  - {cell}\n")
    nll, nsgan = (cell.paradigm for cell in load_study(grid, precision="fp32").cells)
    assert (nll.lr, nsgan) == (3e-3, NSGANConfig(steps=STEPS, r1_gamma=10.0))


def test_a_trial_without_a_result_leaves_the_winner_open(tmp_path: Path) -> None:
    written = report(tmp_path, trials(), missing=(0, 3))
    assert written.findings == ("2 trials have no result, so that there are no winners yet.",)
    assert not (written.html.parent / "tuning.json").exists()


def test_an_older_file_of_winners_is_removed_while_a_trial_has_no_result(tmp_path: Path) -> None:
    complete = report(tmp_path, trials())
    link = 'href="tuning.json"'
    assert link in complete.html.read_text()
    written = report(tmp_path, trials(), missing=(0,))
    assert not (written.html.parent / "tuning.json").exists()
    assert link not in written.html.read_text()


def test_a_configuration_with_a_diverged_run_cannot_win(tmp_path: Path) -> None:
    written = report(tmp_path, trials(), diverged=(2,))
    assert "lr 0.001 wins" in written.findings[0]
    assert tuning_of(written).trials[1].frechet == {"raw": None}


def test_a_distance_that_is_not_finite_cannot_win(tmp_path: Path) -> None:
    def overflow(cell: Cell, step: Array) -> dict[str, Any]:
        is_best = cell.paradigm.lr == RATES[1]
        return {"frechet_lenet": math.inf} if is_best and cell.seed == 100 else distances(cell, step)

    assert "lr 0.001 wins" in report(tmp_path, trials(), overflow).findings[0]


def test_unequal_budgets_are_said(tmp_path: Path) -> None:
    written = report(tmp_path, trials(num_games=1))
    assert "C1 cannot be judged by the trials on MNIST 14×14, all images; " in written.findings[2]
    assert (
        "unequal tuning budgets, 2 configurations (4 trials) of NLL and 1 configuration (2 trials) of NSGAN"
        in written.findings[2]
    )


def test_budgets_of_other_paradigms_do_not_count(tmp_path: Path) -> None:
    more = [replace_paradigm(cell, HybridConfig(steps=STEPS)) for cell in trials()[:1]]
    written = report(tmp_path, [*trials(), *more])
    assert not any("unequal" in text for text in written.findings)


def test_two_architectures_have_a_winner_each(tmp_path: Path) -> None:
    flow = student(TRUTH_FLOW, "W")
    deeper = flow.model_copy(update={"blocks": flow.blocks + 1})
    cells = trials()[:4] + [cell.model_copy(update={"flow": deeper}) for cell in trials()[:4]]
    written = report(tmp_path, cells)
    wins = [text for text in written.findings if "wins with" in text]
    assert len(wins) == 2
    assert f"flow.blocks {flow.blocks}" in wins[0]
    assert f"flow.blocks {flow.blocks + 1}" in wins[1]


def test_games_that_vary_more_than_the_rule_allows_are_said(tmp_path: Path) -> None:
    more = [replace_paradigm(cell, NSGANConfig(steps=STEPS, disc_steps=2)) for cell in trials()[:2]]
    written = report(tmp_path, [*trials(), *more])
    assert any(
        "vary more than the rule lets them vary (r1_gamma, lr, disc_lr, ema_decay): 1 configuration" in text
        for text in written.findings
    )


def test_trials_that_all_diverged_have_no_winner(tmp_path: Path) -> None:
    written = report(tmp_path, trials(), diverged=tuple(range(8)))
    nll, nsgan, *_ = written.findings
    for name, text in {"NLL": nll, "NSGAN": nsgan}.items():
        assert text.startswith(f"{name} on ")
        assert "no winner, as none of 2 configurations in 4 runs has a" in text


def test_a_paradigm_whose_trials_all_diverged_is_said_beside_the_winner_of_the_other() -> None:
    study = build_study(
        trials(), purpose="tuning", truth=False, samples=0, override=distances, diverged=tuple(range(4))
    )
    nll, nsgan, *_ = trial_sentences(read_trials(to_frames(study), "5" * 64), "tuning.json")
    assert "NLL on MNIST" in nll
    assert "no winner" in nll
    assert "wins with" in nsgan


def test_the_same_study_gives_the_same_file(tmp_path: Path) -> None:
    first = tuning_bytes(tuning_of(report(tmp_path, trials())))
    assert (tmp_path / "out" / "tuning.json").read_bytes() == first
    assert read_verified(tmp_path / "study.h5")


def test_damaged_trials_of_a_judged_study_are_named() -> None:
    study = build_study(trials()[:1], truth=False, samples=0)
    study.study["tuning"] = {"study": "tuning"}
    with pytest.raises(CorruptFileError, match="trials of tuning are damaged"):
        _ = to_frames(study).tuning
