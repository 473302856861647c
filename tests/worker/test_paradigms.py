"""One cell of each paradigm and each kind of model by `nllgen run`, on real MNIST and on images of a truth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from nllgen_analysis.frames import load

from nllgen.cli import cli
from nllgen.launch.freeze import freeze
from nllgen.metrics.play import DEAD_GRADIENT
from nllgen.storage.collect import collect
from nllgen.storage.result import Result, read_result
from nllgen.storage.study_dir import StudyDir
from nllgen.study.config import Study
from nllgen.study.load import parse_study
from tests.tiny_studies import quick_critic

# 14×14, a few steps each; the DCGAN's are enough to see its Fréchet distance fall
GRID = """
name: every
truth:
  data: {source: mnist, image_size: 14, num_train: 1000, num_val: 200, num_test: 200}
  flow: {width: 4, blocks: 1}
  paradigm: {name: nll, steps: 30, batch_size: 32, eval_every: 30}
dataset: {num_train: 300, num_val: 200, num_test: 200, num_entropy: 500}
metrics: {frechet: [lenet], num_samples: 200, num_train_eval: 100, num_kept: 4}
cells:
  - data: {source: mnist, image_size: 14, num_train: 1000, num_val: 200, num_test: 200}
    degree: W
    paradigm: {name: [nll, nsgan, r3gan, wgan_gp, hybrid], steps: 6, batch_size: 16, eval_every: 3}
  - data: {source: synthetic, num_train: 300}
    degree: W
    paradigm: {name: nsgan_oracle, steps: 6, batch_size: 16, eval_every: 3}
  - data: {source: synthetic, num_train: fresh}
    degree: W
    start: truth
    paradigm:
      name: nsgan
      steps: 6
      batch_size: 16
      eval_every: 3
      optimizer: sgd
      updates: simultaneous
      r1_gamma: 0.5
      instance_noise: 0.1
      disc_start: pretrained
      disc_pretrain_steps: 5
  - data: {source: synthetic, num_train: fresh}
    degree: W
    start: truth
    paradigm: {name: noise, steps: 6, batch_size: 16, eval_every: 3}
  - data: {source: synthetic, num_train: 300}
    flow: {width: 4, blocks: 1, base: student_t, dof: 10}
    paradigm: {name: nll, steps: 6, batch_size: 16, eval_every: 3}
  - data: {source: mnist, image_size: 14, num_train: 1000, num_val: 200, num_test: 200}
    dcgan: {width: 16}
    paradigm: {name: nsgan, steps: 160, batch_size: 64, eval_every: 160, lr: 1e-3, disc_lr: 1e-3, disc_width: 16}
  - data: {source: synthetic, num_train: 300}
    model: {factory: "nllgen.models.from_zuko:flow", options: {name: MAF, transforms: 1, hidden_features: [32]}}
    paradigm: {name: nll, steps: 40, batch_size: 64, eval_every: 20}
"""
DENSITIES = ("test_nll_nats", "train_nll_nats")

Key = tuple[str, ...]  # kind, paradigm, start
Results = dict[Key, Result]


@pytest.fixture(scope="module")
def study() -> Study:
    return parse_study(GRID, "every.yaml", precision="fp32")


@pytest.fixture(scope="module")
def folder(study: Study, mnist_assets: Path, tmp_path_factory: pytest.TempPathFactory) -> StudyDir:
    """The study's folder with everything run once, in this process."""
    root = tmp_path_factory.mktemp("runs")
    grid = root / "every.yaml"
    grid.write_text(GRID)
    made, _, _ = freeze(study, root)
    for task in ("truth", "dataset", *(cell.id for cell in study.cells)):
        words = ["run", "--grid", str(grid), "--cell", task, "--root", str(root), "--threads", "1", "--device", "cpu"]
        with quick_critic():
            done = CliRunner().invoke(cli, words, env={"NLLGEN_ASSETS": str(mnist_assets)}, catch_exceptions=False)
        assert done.exit_code == 0, done.output
    return made


@pytest.fixture(scope="module")
def results(folder: StudyDir) -> Results:
    """Kind, paradigm and start → result."""
    cells = folder.read_study().cells
    return {(cell.kind, cell.paradigm.name, cell.start): read_result(folder.cell(cell.id).result) for cell in cells}


@pytest.mark.slow
@pytest.mark.parametrize(
    "which",
    [
        ("W", "nll", "random"),
        ("W", "nsgan", "random"),
        ("W", "r3gan", "random"),
        ("W", "noise", "truth"),
        ("W", "wgan_gp", "random"),
        ("W", "hybrid", "random"),
        ("W", "nsgan_oracle", "random"),
        ("W", "nsgan", "truth"),
        ("custom", "nll", "random"),
        ("flow", "nll", "random"),
    ],
    ids=" ".join,
)
def test_a_cell_of_each_paradigm_is_done_and_measured(results: Results, which: Key) -> None:
    result = results[which]
    assert result.attrs["outcome"] == "done"
    for column in (*DENSITIES, "frechet_lenet"):
        assert np.isfinite(result.final[column]).all(), column
    moved = result.eval["val_nll_nats"][result.eval["weights"] == "raw"]
    assert len(set(moved.tolist())) == len(moved)
    averaged = {"ema"} if which[1] not in ("nll", "noise") else set()
    assert set(result.final["weights"]) == {"last", "best"} | averaged


@pytest.mark.slow
def test_what_each_paradigm_records(results: Results) -> None:
    def recorded(*which: str) -> set[str]:
        history = results[which].history
        return {name for name in history if np.isfinite(history[name]).all()} - {"step", "time_s", "lr", "grad_norm"}

    adversarial = {"loss_disc", "loss_gen", "grad_norm_disc"}
    assert recorded("W", "nll", "random") == {"train_nll_nats"}
    assert recorded("W", "nsgan", "random") == adversarial
    assert recorded("W", "nsgan", "truth") == adversarial | {"penalty_disc"}
    assert recorded("W", "wgan_gp", "random") == adversarial | {"penalty_disc"}
    assert recorded("W", "hybrid", "random") == adversarial | {"train_nll_nats"}
    assert recorded("W", "r3gan", "random") == adversarial | {"penalty_disc"}
    assert recorded("W", "nsgan_oracle", "random") == {"loss_gen"}
    assert recorded("W", "noise", "truth") == set()


@pytest.mark.slow
def test_each_evaluation_of_a_game_says_whether_it_lives(results: Results) -> None:
    columns = ("gen_grad_norm", "saturated_share", "recall_lenet")
    for which, result in results.items():
        raw = result.eval["weights"] == "raw"
        if which[1] in ("nsgan", "r3gan", "wgan_gp", "hybrid"):
            assert all(np.isfinite(result.eval[name][raw]).all() for name in columns), which
            assert (result.eval["gen_grad_norm"][raw][1:] > 100 * DEAD_GRADIENT).all(), which
        else:
            assert not {"gen_grad_norm", "saturated_share"} & result.eval.keys(), which
        assert np.isnan(result.attrs["dead_step"]), which


@pytest.mark.slow
def test_the_best_weights_of_a_game_have_its_smallest_frechet_distance(results: Results) -> None:
    for which in (("W", "nsgan", "random"), ("W", "r3gan", "random"), ("dcgan", "nsgan", "random")):
        result = results[which]
        raw = result.eval["weights"] == "raw"
        smallest = result.eval["step"][raw][np.argmin(result.eval["frechet_choice"][raw])]
        assert result.final["step"][result.final["weights"] == "best"].tolist() == [smallest], which


@pytest.mark.slow
def test_the_control_lowers_its_frechet_distance_and_has_no_density(results: Results) -> None:
    """From random weights, by more than a quarter in 160 steps; 2,000 of them reach a twentieth at width 32."""
    result = results["dcgan", "nsgan", "random"]
    raw = result.eval["frechet_lenet"][result.eval["weights"] == "raw"]
    assert raw[-1] < 0.75 * raw[0]
    assert set(result.final["weights"]) == {"last", "best", "ema"}
    for column in (*DENSITIES, "kl_nats", "fp_error_nats", "inverse_error"):
        if column in result.final:
            assert np.isnan(result.final[column]).all(), column
    assert result.samples.shape == (4, 1, 14, 14)


@pytest.mark.slow
def test_a_model_by_import_path_has_an_exact_kl_and_its_source_on_record(results: Results) -> None:
    result = results["flow", "nll", "random"]
    kl = result.eval["kl_nats"]
    assert 0 < kl[-1] < kl[0]
    assets = json.loads(result.attrs["assets"])
    assert {"package:zuko", "model:nllgen.models.from_zuko:flow"} <= set(assets)


@pytest.mark.slow
def test_all_of_them_stand_in_one_study_file(folder: StudyDir, study: Study, tmp_path: Path) -> None:
    collect(folder, tmp_path / "study.h5", reference={})
    cells = load(tmp_path / "study.h5").cells
    assert len(cells) == len(study.cells) + 1
    assert {"dcgan", "flow"} <= set(cells["degree"])
    assert cells["group"].nunique() == len(cells)
