"""Tuning studies: the file of their trials, the cells that take the winners' settings, and what is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from nllgen.errors import ConfigError, ConflictError
from nllgen.storage.study_dir import StudyDir
from nllgen.study.builtin import builtin_path
from nllgen.study.config import Cell, DataConfig, FlowConfig, NLLConfig, NSGANConfig, Study
from nllgen.study.extend import extend_study
from nllgen.study.load import load_study
from nllgen.study.manifest import header_text, manifest_text, parse_frozen
from nllgen.study.path_kinds import PathKind, path_kind
from nllgen.study.tuning import Trial, Tuning, Weights, best_trial, find_winner, read_tuning, tuning_bytes

FLOW = FlowConfig(shape=(1, 14, 14), width=8)
DATA = DataConfig(image_size=14)
GRID = """
name: judged
tuning: {{file: tuning.json, sha256: {sha256}}}
cells:
  - data: {{image_size: 14}}
    flow: {{width: {width}}}
    precision: fp32
    paradigm: {{{paradigm}}}
    seed: {seed}
"""


WITH_TRUTH = """
name: judged
tuning: {{file: tuning.json, sha256: {sha256}}}
truth: {{paradigm: {{name: nll, steps: 10}}, data: {{image_size: 14}}, flow: {{width: 8}}, precision: fp32}}
cells:
  - degree: [W, W*]
    data: {{image_size: 14}}
    paradigm: {{name: nsgan, tuned: true}}
    precision: fp32
    seed: 0
"""


def trial(paradigm: Any, raw: float | None, ema: float | None = None) -> Trial:
    frechet: dict[Weights, float | None] = {"raw": raw}
    if ema is not None:
        frechet["ema"] = ema
    return Trial(cell=Cell(data=DATA, flow=FLOW, paradigm=paradigm, seed=100), seeds=(100, 101), frechet=frechet)


TRIALS = (
    trial(NLLConfig(steps=400, lr=1e-3), 20.0),
    trial(NLLConfig(steps=400, lr=3e-3), 10.0),
    trial(NSGANConfig(steps=400, lr=1e-4, eval_every=20), 50.0, 30.0),
    trial(NSGANConfig(steps=400, lr=2e-4, r1_gamma=10.0, eval_every=20), 40.0, 45.0),
    trial(NSGANConfig(steps=400, lr=4e-4, r1_gamma=10.0), None),
)
TUNING = Tuning(study="tuning", study_sha256="5" * 64, trials=TRIALS)


def load(
    folder: Path,
    paradigm: str = "name: nsgan, tuned: true",
    *,
    seed: str = "[0, 1]",
    width: int = 8,
    tuning: Tuning = TUNING,
) -> Study:
    content = tuning_bytes(tuning)
    (folder / "tuning.json").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    (folder / "judged.yaml").write_text(GRID.format(sha256=digest, paradigm=paradigm, seed=seed, width=width))
    return load_study(folder / "judged.yaml", precision="fp32")


def refusal(folder: Path, *args: Any, **settings: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load(folder, *args, **settings)
    return str(caught.value)


def test_the_lowest_mean_of_either_kind_of_weights_wins() -> None:
    assert best_trial(TRIALS[2:]) == (TRIALS[2], "ema")
    assert best_trial(TRIALS[3:]) == (TRIALS[3], "raw")
    averaged = trial(NLLConfig(steps=400, lr=1e-3, ema_decay=0.9), 20.0, 5.0)
    assert best_trial([averaged, TRIALS[1]]) == (TRIALS[1], "raw")  # NLL is judged by its last weights


def test_a_trial_that_diverged_never_wins() -> None:
    assert best_trial([TRIALS[4], TRIALS[2]]) == (TRIALS[2], "ema")
    assert best_trial([TRIALS[4]]) is None


def test_a_file_of_trials_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "tuning.json"
    path.write_bytes(tuning_bytes(TUNING))
    digest = hashlib.sha256(tuning_bytes(TUNING)).hexdigest()
    assert read_tuning(path, digest) == TUNING.model_copy(update={"sha256": digest})


def test_a_tuned_cell_takes_the_winner_s_settings(tmp_path: Path) -> None:
    first, second = load(tmp_path).cells
    assert first.paradigm == TRIALS[2].cell.paradigm
    assert [first.seed, second.seed] == [0, 1]


def test_a_tuned_cell_is_the_cell_with_these_settings_written_out(tmp_path: Path) -> None:
    tuned = load(tmp_path, "name: nll, tuned: true").cells
    assert tuned == load(tmp_path, "name: nll, steps: 400, lr: 3e-3").cells


def test_settings_beside_tuned_select_among_the_trials(tmp_path: Path) -> None:
    (cell, _) = load(tmp_path, "name: nsgan, tuned: true, r1_gamma: 10.0").cells
    assert cell.paradigm.lr == 2e-4


def test_evaluations_are_the_cell_s_own(tmp_path: Path) -> None:
    (cell, _) = load(tmp_path, "name: nsgan, tuned: true, eval_every: 100").cells
    assert (cell.paradigm.lr, cell.paradigm.eval_every) == (1e-4, 100)


def test_tuned_and_plain_cells_can_be_one_sweep(tmp_path: Path) -> None:
    study = load(tmp_path, "name: nsgan, tuned: [true, false]", seed="0")
    assert [cell.paradigm.steps for cell in study.cells] == [400, 20_000]


@pytest.mark.parametrize(
    ("paradigm", "settings", "says"),
    [
        ("name: r3gan, tuned: true", {}, "no trial with name r3gan there; tried: nll, nsgan"),
        ("name: nsgan, tuned: true, r1_gamma: 1.0", {}, "no trial with r1_gamma 1.0 there; tried: 0.0, 10.0"),
        ("name: nsgan, tuned: true, lr: 4e-4", {}, "no trial there that ended with a finite"),
        ("name: nsgan, tuned: true", {"width": 9}, "has no trial of this flow"),
        ("name: nsgan, tuned: 1", {}, "1 is not allowed; allowed: true, false"),
        ("name: nsgan, tuned: true", {"seed": "[0, 101]"}, "seed 101 was tried by the tuning study tuning"),
        ("name: nsgan, lr: 3e-4", {"seed": "[0, 100]"}, "seed 100 was tried by the tuning study tuning"),
    ],
)
def test_what_the_trials_do_not_give_is_refused(
    paradigm: str, settings: dict[str, Any], says: str, tmp_path: Path
) -> None:
    assert says in refusal(tmp_path, paradigm, **settings)


def test_trials_of_two_budgets_need_one_of_them(tmp_path: Path) -> None:
    longer = trial(NSGANConfig(steps=800, lr=1e-4), 5.0)
    tuning = TUNING.model_copy(update={"trials": (*TRIALS, longer)})
    assert "trials of 400 steps of 128, 800 steps of 128; give paradigm.steps" in refusal(tmp_path, tuning=tuning)
    assert (
        load(tmp_path, "name: nsgan, tuned: true, steps: 800", tuning=tuning).cells[0].paradigm == longer.cell.paradigm
    )


def test_tuned_without_a_tuning_study_is_refused(tmp_path: Path) -> None:
    load(tmp_path)
    text = (tmp_path / "judged.yaml").read_text()
    (tmp_path / "judged.yaml").write_text("\n".join(line for line in text.splitlines() if "tuning:" not in line))
    with pytest.raises(ConfigError, match="this study names none"):
        load_study(tmp_path / "judged.yaml", precision="fp32")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read: No such file"),
        (b"{}", "is not the tuning.json of a tuning study's report"),
        (b"\xff\x00", "is not the tuning.json"),
        (b"[" * 100_000, "is not the tuning.json"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(content: bytes | None, says: str, tmp_path: Path) -> None:
    load(tmp_path)
    path = tmp_path / "tuning.json"
    path.unlink() if content is None else path.write_bytes(content)
    digest = hashlib.sha256(content or b"").hexdigest()
    (tmp_path / "judged.yaml").write_text(GRID.format(sha256=digest, paradigm="name: nll", seed=0, width=8))
    with pytest.raises(ConfigError, match=r"judged\.yaml:3: tuning: ") as caught:
        load_study(tmp_path / "judged.yaml", precision="fp32")
    assert says in str(caught.value)


def test_another_tuning_study_under_the_same_name_is_refused(tmp_path: Path) -> None:
    load(tmp_path)
    (tmp_path / "tuning.json").write_bytes(tuning_bytes(TUNING.model_copy(update={"study": "other"})))
    with pytest.raises(ConfigError, match="has the SHA-256"):
        load_study(tmp_path / "judged.yaml", precision="fp32")


def test_a_study_with_hundreds_of_trials_is_read_from_its_directory(tmp_path: Path) -> None:
    many = Tuning(study="tuning", study_sha256="5" * 64, trials=TRIALS * 140)
    study = load(tmp_path, tuning=many)
    study_dir = StudyDir(tmp_path / "judged")
    study_dir.freeze(study)
    assert study_dir.read_study() == study
    assert path_kind(study_dir.header) is PathKind.FROZEN


def test_the_control_of_a_tuned_arm_trains_nothing(tmp_path: Path) -> None:
    load(tmp_path)
    grid = WITH_TRUTH.format(sha256=hashlib.sha256(tuning_bytes(TUNING)).hexdigest())
    (tmp_path / "judged.yaml").write_text(grid)
    cells = {cell.degree: cell for cell in load_study(tmp_path / "judged.yaml", precision="fp32").cells}
    assert (cells["W"].paradigm.steps, cells["W*"].paradigm.steps) == (400, 0)
    assert cells["W"].paradigm.lr == cells["W*"].paradigm.lr == 1e-4


def test_a_trial_from_the_truth_wins_nothing_for_a_random_start(tmp_path: Path) -> None:
    cell = TRIALS[2].cell.model_copy(update={"start": "truth"})
    near = Trial(cell=cell, seeds=(100,), frechet={"raw": 0.1})
    tuning = Tuning(study="tuning", study_sha256="5" * 64, trials=(near,))
    assert "no trial from this start" in refusal(tmp_path, tuning=tuning)


def test_the_frozen_study_has_the_trials(tmp_path: Path) -> None:
    study = load(tmp_path)
    frozen = parse_frozen(header_text(study), manifest_text(study), "here")
    assert frozen == study
    assert frozen.tuning is not None
    assert frozen.tuning.trials == TRIALS


def test_a_frozen_study_keeps_its_tuning_study(tmp_path: Path) -> None:
    other = TUNING.model_copy(update={"study_sha256": "6" * 64})
    with pytest.raises(ConflictError, match=r"tuning\.sha256: was") as caught:
        extend_study(load(tmp_path), load(tmp_path, tuning=other))
    assert "tuning.trials" not in str(caught.value)


def test_the_winner_is_looked_for_in_one_precision() -> None:
    with pytest.raises(ValueError, match="has no trial in this precision"):
        find_winner(TUNING, {"data": DATA, "flow": FLOW, "precision": "bf16"}, {"name": "nll"})


TUNING_GRID = """
name: tuning
purpose: tuning
{metrics}
cells:
  - {{data: {{image_size: {size}}}, flow: {{scales: 1}}, paradigm: {{name: nll, steps: 4}}, seed: 0}}
"""


@pytest.mark.parametrize(
    ("metrics", "size", "says"),
    [
        ("metrics: {every: [divergence]}", 14, "a tuning study compares Fréchet distances"),
        ("metrics: {frechet: [inception]}", 14, "a tuning study compares Fréchet distances"),
        ("", 7, "there is no LeNet for images of 7×7"),
    ],
)
def test_a_tuning_study_needs_frechet_distances(metrics: str, size: int, says: str, tmp_path: Path) -> None:
    path = tmp_path / "tuning.yaml"
    path.write_text(TUNING_GRID.format(metrics=metrics, size=size))
    with pytest.raises(ConfigError, match=says):
        load_study(path, precision="fp32")


def test_the_built_in_study_of_mnist_takes_the_winners_of_tuning(tmp_path: Path) -> None:
    """With the lines that its comments give, it has the cells that C1 needs."""
    trials: dict[str, list[Cell]] = {}
    for cell in load_study("tuning", precision="bf16").cells:
        trials.setdefault(cell.model_dump_json(exclude={"seed"}), []).append(cell)
    found = [
        Trial(cell=cells[0], seeds=tuple(cell.seed for cell in cells), frechet={"raw": float(i)})
        for i, cells in enumerate(trials.values())
    ]
    content = tuning_bytes(Tuning(study="tuning", study_sha256="5" * 64, trials=tuple(found)))
    (tmp_path / "tuning.json").write_bytes(content)
    path = builtin_path("jobs", "mnist")
    assert path is not None
    text = path.read_text().replace("#+ ", "").replace("tuning/tuning.json", "tuning.json")
    (tmp_path / "mine.yaml").write_text(text.replace("…}", hashlib.sha256(content).hexdigest() + "}", 1))
    study = load_study(tmp_path / "mine.yaml", precision="bf16")
    winners = [cell for cell in study.cells if cell.paradigm.lr == 2e-4 and cell.paradigm.name == "nll"]
    assert [cell.seed for cell in winners] == list(range(10))
    assert len({cell.paradigm.name for trial in found for cell in [trial.cell]}) == 2
    assert len(study.cells) == len(load_study("mnist", precision="bf16").cells) + 20
