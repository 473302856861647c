"""Pretrained truths: a study that names one trains no truth and cannot be given another."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks.pack_truth import bits_on_mnist
from nllgen.cli.study_commands import is_available
from nllgen.data.truth import load_truth
from nllgen.errors import AssetError, ConfigError, ConflictError, CorruptFileError
from nllgen.launch.freeze import freeze
from nllgen.planning.plan import make_plan
from nllgen.planning.study_plan import load_study_at
from nllgen.storage.dataset import read_dataset
from nllgen.storage.tasks import tasks_of
from nllgen.study import pretrained
from nllgen.study.config import Study
from nllgen.study.load import load_study, parse_study
from nllgen.study.pretrained import pretrained_card, pretrained_names, pretrained_weights
from nllgen.worker.dataset import draw_dataset
from nllgen.worker.progress import plain_lines
from nllgen.worker.settings import NeverStop
from nllgen.worker.study_truth import study_truth

GRID = """
name: begun
truth: {pretrained: known-mnist-14}
dataset: {num_train: 100, num_val: 50, num_test: 50, num_entropy: 50}
cells:
  - data: {source: synthetic, num_train: 100}
    degree: W
    paradigm: {name: nll, steps: 2, batch_size: 16, eval_every: 1}
"""
OPTIONAL = (
    GRID
    + """
  - data: {source: mnist, image_size: 14, num_train: 100, num_val: 50, num_test: 50}
    degree: W
    paradigm: {name: nll, steps: 2, batch_size: 16, eval_every: 1}
optional: [mnist]
"""
)


def parsed(text: str) -> Study:
    return parse_study(text, "begun.yaml", precision="fp32")


@pytest.mark.parametrize("name", pretrained_names())
def test_a_card_describes_its_weights(name: str, tmp_path: Path) -> None:
    card = pretrained_card(name)
    path = tmp_path / "truth.pt"
    path.write_bytes(pretrained_weights(name))
    truth = load_truth(path, torch.device("cpu"))
    assert truth.cell == card.cell == load_study(name, precision="bf16").truth
    assert truth.flow.num_parameters == card.num_params
    assert hashlib.sha256(path.read_bytes()).hexdigest() == card.sha256


def test_bits_per_dimension_of_a_card_are_reproduced(mnist_assets: Path, tmp_path: Path) -> None:
    path = tmp_path / "truth.pt"
    path.write_bytes(pretrained_weights("known-mnist-14"))
    found = bits_on_mnist(load_truth(path, torch.device("cpu")))
    assert found == pytest.approx(pretrained_card("known-mnist-14").bits_per_dim, abs=1e-3)


def test_weights_that_are_not_the_cards_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "known-mnist-14"
    folder.mkdir()
    for file in pretrained.TRUTHS.glob("known-mnist-14/*"):
        content = file.read_bytes()
        (folder / file.name).write_bytes(content[:9999] + b"?" + content[10_000:] if file.suffix == ".pt" else content)
    monkeypatch.setattr(pretrained, "TRUTHS", tmp_path)
    with pytest.raises(CorruptFileError, match="SHA-256"):
        pretrained_weights("known-mnist-14")


@pytest.fixture
def shipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A copy of the folder of one truth, which may be spoilt."""
    shutil.copytree(pretrained.TRUTHS / "known-mnist-14", tmp_path / "known-mnist-14")
    monkeypatch.setattr(pretrained, "TRUTHS", tmp_path)
    pretrained_card.cache_clear()
    yield tmp_path / "known-mnist-14"
    pretrained_card.cache_clear()


def test_a_card_that_was_edited_is_refused(shipped: Path) -> None:
    (shipped / "card.json").write_text("{}")
    with pytest.raises(CorruptFileError, match="not the card of a truth"):
        pretrained_card("known-mnist-14")


@pytest.mark.parametrize("name", ["card.json", "truth.pt"])
def test_an_incomplete_installation_names_the_missing_file(shipped: Path, name: str) -> None:
    (shipped / name).unlink()
    with pytest.raises(AssetError, match=name):
        pretrained_weights("known-mnist-14")


def test_a_study_that_names_one_runs_no_truth(tmp_path: Path) -> None:
    study = parsed(GRID)
    assert [row.kind for row in make_plan(study, {}).rows] == ["dataset", "cell"]
    folder, frozen, _ = freeze(study, tmp_path)
    assert [task.name for task in tasks_of(frozen, folder)] == ["dataset", study.cells[0].id]
    assert frozen.truth is not None
    assert folder.truth_weights(frozen.truth.id).read_bytes() == pretrained_weights("known-mnist-14")


def test_submitting_again_repairs_a_damaged_truth(tmp_path: Path) -> None:
    folder, frozen, _ = freeze(parsed(GRID), tmp_path)
    assert frozen.truth is not None
    folder.truth_weights(frozen.truth.id).write_bytes(b"spoilt")
    freeze(parsed(GRID), tmp_path)
    assert folder.truth_weights(frozen.truth.id).read_bytes() == pretrained_weights("known-mnist-14")


def test_a_frozen_study_keeps_the_truth_that_it_has(tmp_path: Path) -> None:
    """The same configuration trained here gives other weights: another truth."""
    freeze(parsed(GRID), tmp_path)
    trained = pretrained_card("known-mnist-14").cell
    own = parsed(GRID).model_copy(update={"pretrained": "", "truth": trained})
    with pytest.raises(ConflictError, match="pretrained"):
        freeze(own, tmp_path)


@pytest.mark.parametrize(
    ("truth", "words"),
    [
        ("{pretrained: known-mnist-15}", "did you mean known-mnist-14"),
        ("{pretrained: [known-mnist-14]}", "is not allowed"),
        ("{pretrained: ../known-mnist-14}", "is not allowed"),
        ("{pretrained: known-mnist-14, base_scale: 0}", "truth.base_scale: 0 is not allowed"),
        ("{pretrained: known-mnist-14, base_scale: cold}", 'truth.base_scale: "cold" is not allowed'),
        ("{pretrained: known-mnist-14, seed: 1}", "truth.seed: goes with a truth that is trained"),
    ],
)
def test_a_wrong_name_is_reported_with_its_line_and_what_is_allowed(truth: str, words: str) -> None:
    with pytest.raises(ConfigError, match=r"begun\.yaml:3: ") as refused:
        parsed(GRID.replace("{pretrained: known-mnist-14}", truth))
    assert words in str(refused.value)


def test_cells_on_mnist_are_left_out_where_it_is_missing_and_join_where_it_is_there(
    monkeypatch: pytest.MonkeyPatch, mnist_assets: Path, tmp_path: Path
) -> None:
    grid = tmp_path / "begun.yaml"
    grid.write_text(OPTIONAL)
    monkeypatch.setenv("NLLGEN_ASSETS", str(tmp_path / "none"))
    without = load_study_at(str(grid), tmp_path, is_available, "fp32")
    assert [cell.data.source for cell in without.cells] == ["synthetic"]
    assert without.left_out == make_plan(without, {}).left_out == ("mnist",)
    freeze(without, tmp_path)
    monkeypatch.setenv("NLLGEN_ASSETS", str(mnist_assets))
    grown = load_study_at(str(grid), tmp_path, is_available, "fp32")
    _, frozen, num_new = freeze(grown, tmp_path)
    assert num_new == 1
    assert frozen.left_out == ()
    monkeypatch.setenv("NLLGEN_ASSETS", str(tmp_path / "none"))
    again = load_study_at(str(grid), tmp_path, is_available, "fp32")
    assert {cell.id for cell in again.cells} == {cell.id for cell in frozen.cells}


def test_only_data_that_may_be_missing_can_be_optional() -> None:
    with pytest.raises(ConfigError, match="optional"):
        parsed(OPTIONAL.replace("[mnist]", "[synthetic]"))


def test_a_pretrained_truth_can_have_another_scale_of_its_base(tmp_path: Path) -> None:
    scaled = parsed(GRID.replace("known-mnist-14}", "known-mnist-14, base_scale: 0.8}"))
    plain = parsed(GRID)
    assert scaled.truth is not None
    assert scaled.truth.real_nvp.base_scale == 0.8
    assert scaled.cells[0].data.truth_id == scaled.truth.id != plain.cells[0].data.truth_id
    folder, frozen, _ = freeze(scaled, tmp_path)
    weights = folder.truth_weights(scaled.truth.id)
    assert weights.read_bytes() == pretrained_weights("known-mnist-14")
    assert study_truth(weights) == frozen.truth
    draw_dataset(weights, folder.dataset(scaled.truth.id), frozen.dataset, NeverStop(), plain_lines)
    drawn, truth = read_dataset(folder.dataset(scaled.truth.id)), load_truth(weights, torch.device("cpu"))
    z = truth.flow.forward(torch.from_numpy(drawn.x["val"]))[0]
    assert drawn.truth_id == scaled.truth.id
    assert float(z.std()) == pytest.approx(0.8, abs=0.02)


def test_a_scale_of_one_is_the_pretrained_truth_itself() -> None:
    assert parsed(GRID.replace("known-mnist-14}", "known-mnist-14, base_scale: 1.0}")).cells == parsed(GRID).cells
