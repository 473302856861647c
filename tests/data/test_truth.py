"""The truth on disk, and the images drawn from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nllgen.data.synthetic import CHUNK, draw_split, entropy_log_probs
from nllgen.data.truth import Truth, check_fits, load_tensors, load_truth, to_bytes, truth_bytes, weights_sha256
from nllgen.errors import AssetError, ConfigError, CorruptFileError, SchemaError
from nllgen.models import RealNVP
from nllgen.models.actnorm import ActNorm
from nllgen.models.realnvp import numerical_errors
from nllgen.storage.weights import weights_digest
from nllgen.study.config import Cell, DataConfig, FlowConfig
from nllgen.train.streams import generator

CPU = torch.device("cpu")
FLOW = FlowConfig(shape=(1, 7, 7), width=4, blocks=1, scales=1)
CELL = Cell(data=DataConfig(image_size=7), flow=FLOW)


def chunks(split: str, chunk: int) -> torch.Generator:
    return generator(CPU, 0, "dataset", split, chunk)


def quiet(n: int) -> None:
    pass


@pytest.fixture
def truth() -> Truth:
    torch.manual_seed(0)
    flow = RealNVP(FLOW).requires_grad_(False)
    for parameter in flow.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    return Truth(CELL, flow, weights_sha256(flow.state_dict()))


@pytest.fixture
def truth_file(truth: Truth, tmp_path: Path) -> Path:
    path = tmp_path / "truth.pt"
    path.write_bytes(truth_bytes(CELL, truth.flow.state_dict()))
    return path


def test_a_truth_comes_back_from_its_file_to_the_bit(truth: Truth, truth_file: Path) -> None:
    loaded = load_truth(truth_file, CPU)
    assert (loaded.id, loaded.sha256) == (truth.id, truth.sha256)
    x = torch.randn(3, 1, 7, 7)
    assert torch.equal(loaded.flow.log_prob(x), truth.flow.log_prob(x))


def test_a_loaded_truth_has_no_gradients(truth_file: Path) -> None:
    assert not any(p.requires_grad for p in load_truth(truth_file, CPU).flow.parameters())


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(12.0).view(3, 4),
        torch.arange(12.0).view(3, 4).T,
        torch.arange(12.0)[3:8],
        torch.arange(12.0)[::2],
        torch.tensor(5),
        torch.zeros(0, 3),
        torch.tensor([True, False]),
    ],
    ids=["in order", "transposed", "a part", "every second", "a number", "empty", "bool"],
)
def test_weights_on_disk_have_the_digest_of_those_in_memory(tmp_path: Path, tensor: torch.Tensor) -> None:
    path = tmp_path / "truth.pt"
    path.write_bytes(to_bytes({"weights": {"a": tensor}}))
    assert weights_digest(path) == weights_sha256({"a": tensor})


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_truth_is_a_typed_error(truth_file: Path, keep: float) -> None:
    data = truth_file.read_bytes()
    truth_file.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(CorruptFileError):
        load_truth(truth_file, CPU)


def test_a_missing_truth_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="submit the study again"):
        load_truth(tmp_path / "truth.pt", CPU)


def test_a_truth_of_another_schema_is_refused(truth_file: Path) -> None:
    truth_file.write_bytes(to_bytes(load_tensors(truth_file) | {"schema": 99}))
    with pytest.raises(SchemaError, match="99"):
        load_truth(truth_file, CPU)


def test_weights_of_another_flow_are_refused(truth_file: Path) -> None:
    content = load_tensors(truth_file)
    content["weights"].popitem()
    truth_file.write_bytes(to_bytes(content))
    with pytest.raises(CorruptFileError, match="not a truth"):
        load_truth(truth_file, CPU)


def test_a_pickle_with_code_in_it_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "truth.pt"
    torch.save({"schema": 1, "weights": print}, path)
    with pytest.raises(CorruptFileError):
        load_truth(path, CPU)


def test_a_cell_on_another_truths_data_is_refused(truth: Truth) -> None:
    data = DataConfig(source="synthetic", image_size=7, num_train=10, truth_id="another")
    with pytest.raises(ConfigError, match="another"):
        check_fits(truth, Cell(data=data, flow=FLOW))


def test_a_start_at_a_truth_of_another_flow_is_refused(truth: Truth) -> None:
    other = FlowConfig(shape=(1, 7, 7), width=8, blocks=1, scales=1)
    with pytest.raises(ConfigError, match="has another flow"):
        check_fits(truth, Cell(data=DataConfig(image_size=7), flow=other, start="truth"))


def test_a_larger_set_begins_with_the_smaller_one(truth: Truth) -> None:
    small, small_p, _ = draw_split(truth, "train", 0, 700, chunks, quiet)
    large, large_p, _ = draw_split(truth, "train", 0, 1300, chunks, quiet)
    assert torch.equal(large[:700], small)
    assert torch.equal(large_p[:700], small_p)


def test_a_set_that_grows_by_chunks_is_the_set_drawn_at_once(truth: Truth) -> None:
    whole, _, _ = draw_split(truth, "val", 0, 3 * CHUNK, chunks, quiet)
    rest, _, _ = draw_split(truth, "val", CHUNK, 3 * CHUNK, chunks, quiet)
    assert torch.equal(whole[CHUNK:], rest)


def test_splits_do_not_share_images(truth: Truth) -> None:
    train, _, _ = draw_split(truth, "train", 0, 10, chunks, quiet)
    val, _, _ = draw_split(truth, "val", 0, 10, chunks, quiet)
    assert not torch.equal(train, val)


def test_the_stored_log_prob_is_that_of_the_stored_image(truth: Truth) -> None:
    x, log_prob, error = draw_split(truth, "test", 0, CHUNK, chunks, quiet)
    assert torch.equal(truth.flow.log_prob(x), log_prob)
    assert 0 <= error < 1e-3


def test_entropy_of_an_affine_truth_is_the_closed_form() -> None:
    """New couplings are the identity, so with ActNorm scales exp(a) H = D/2 · ln(2πe) − log|det|."""
    flow = RealNVP(FLOW).requires_grad_(False)
    log_det = 0.0
    for i, norm in enumerate(module for module in flow.modules() if isinstance(module, ActNorm)):
        norm.log_scale.fill_(0.1 * (i + 1))
        log_det += 0.1 * (i + 1) * 49
    truth = Truth(CELL, flow, "")
    values = -entropy_log_probs(truth, 0, 20_000, chunks, quiet)
    value, se = float(values.mean()), float(values.std()) / len(values) ** 0.5
    closed = 49 / 2 * np.log(2 * np.pi * np.e) - log_det
    assert abs(value - closed) < 4 * se
    assert se < 0.1


def test_numerical_errors_are_small_and_not_zero(truth: Truth) -> None:
    x, _, _ = draw_split(truth, "val", 0, 64, chunks, quiet)
    density, inverse = numerical_errors(truth.flow, x)
    assert 0 < density < 1e-3
    assert 0 < inverse < 1e-4


def scaled(cell: Cell, scale: float) -> Cell:
    return cell.model_copy(update={"flow": cell.real_nvp.model_copy(update={"base_scale": scale})})


def test_a_truth_can_be_read_with_another_scale_of_its_base(truth: Truth, truth_file: Path) -> None:
    loaded = load_truth(truth_file, CPU, scaled(CELL, 0.8))
    assert loaded.id == scaled(CELL, 0.8).id != truth.id
    assert loaded.sha256 == truth.sha256
    drawn = loaded.flow.sample(4, torch.Generator().manual_seed(0))
    z = truth.flow.forward(drawn)[0]
    assert torch.allclose(z, 0.8 * truth.flow.sample_base(4, torch.Generator().manual_seed(0)), atol=1e-4)


def test_a_scale_of_one_is_the_cell_of_before() -> None:
    assert scaled(CELL, 1.0).id == CELL.id
    assert "base_scale" not in CELL.model_dump_json()


def test_another_truth_than_the_study_s_is_refused(truth_file: Path) -> None:
    other = CELL.model_copy(update={"seed": 5})
    with pytest.raises(CorruptFileError, match="holds another truth"):
        load_truth(truth_file, CPU, other)
