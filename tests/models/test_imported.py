"""Models by import path: zuko's, and a user's own module with every possible mistake."""

from __future__ import annotations

import hashlib
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import nllgen.models.from_zuko
from nllgen.errors import ConfigError
from nllgen.metrics.exact import draw, log_densities
from nllgen.models import make_model
from nllgen.models.from_zuko import ZukoFlow
from nllgen.models.imported import _SETTINGS, ImportedModel
from nllgen.study.config import Cell, DataConfig, ImportedConfig
from tests.models.own_models import MODULE


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "own_students.py"
    path.write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_students", raising=False)
    return path


def imported(factory: str, shape: tuple[int, int, int] = (1, 2, 3), **options: Any) -> ImportedModel:
    return ImportedModel(ImportedConfig(shape=shape, factory=factory, options=options))


def test_a_cell_makes_its_model_by_import_path(own_module: Path) -> None:
    config = ImportedConfig(shape=(1, 7, 7), factory="own_students:Good", options={"width": 5})
    model = make_model(Cell(data=DataConfig(image_size=7), model=config))
    assert isinstance(model, ImportedModel)
    assert (vars(model.inner)["width"], model.num_parameters) == (5, 49)


def test_initialise_is_called_with_data_if_it_exists(own_module: Path) -> None:
    model = imported("own_students:Good")
    model.initialise(torch.full((4, 1, 2, 3), 2.0))
    assert torch.equal(model.inner.get_parameter("mean"), torch.full((1, 2, 3), 2.0))


def test_its_densities_are_float64(own_module: Path) -> None:
    assert imported("own_students:Good").log_prob(torch.zeros(2, 1, 2, 3)).dtype == torch.float64


def test_its_file_is_known_by_its_digest(own_module: Path) -> None:
    found = imported("own_students:Good").provenance
    assert found["model:own_students:Good"] == hashlib.sha256(own_module.read_bytes()).hexdigest()
    assert found["package:own_students"] == "unknown"


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("def broken(:", "cannot be imported: SyntaxError"),
        ("1 / 0", "cannot be imported: ZeroDivisionError"),
        ("import sys\nsys.exit(3)", "cannot be imported: SystemExit: 3"),
        ("import sys\nfrom torch import nn\ndef Good(shape) -> nn.Module:\n    sys.exit(4)", "SystemExit: 4"),
    ],
)
def test_code_that_breaks_off_is_the_users(own_module: Path, code: str, says: str) -> None:
    """Once, the worker ended with a traceback, or without a word."""
    own_module.write_text(code)
    with pytest.raises(ConfigError, match=says):
        imported("own_students:Good")


@pytest.mark.parametrize(
    ("factory", "says"),
    [
        ("no_such_module:x", "cannot be imported.*No module named"),
        ("own_students:Absent", "cannot be imported"),
        ("own_students:number", "is a int, not a function or class"),
        ("own_students:not_a_module", "returned a int, not a torch.nn.Module"),
        ("own_students:NoDensity", "without log_prob"),
        ("own_students:NoSample", "without sample"),
        ("own_students:WrongDensity", r"log_prob of 3 images has shape \(\), not \(3,\)"),
        ("own_students:WrongSample", r"sample of 3 images has shape \(3, 6\), not \(3, 1, 2, 3\)"),
        ("own_students:OwnDice", "sample is random beyond its generator"),
        ("own_students:NoGenerator", "unexpected keyword argument 'generator'"),
        ("own_students:NoGradient", "log_prob passes no gradient"),
        ("own_students:NoParameters", "without trainable parameters"),
        ("own_students:RandomDensity", "differs between two calls"),
        ("own_students:BatchDensity", "depends on the other images"),
        ("own_students:NaNDensity", "not finite: .*nan"),
        ("own_students:HalfDensity", r"log_prob of torch\.float32 returns torch\.float16"),
        ("own_students:DoubleSamples", r"sample returns torch\.float64, not torch\.float32"),
        ("own_students:NaNSamples", "sample is random beyond its generator, or not finite"),
    ],
)
def test_a_broken_contract_is_described(own_module: Path, factory: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        imported(factory)


@pytest.mark.parametrize(
    ("factory", "options"),
    [
        ("own_students:silent", {}),
        ("own_students:NotOne", {}),
        ("numpy:memmap", {"filename": "mine", "mode": "w+", "dtype": "uint8"}),
        ("builtins:open", {"file": "mine", "mode": "w"}),
        ("os:system", {"command": "touch was-called"}),
        ("torch.hub:load", {"repo_or_dir": "there", "source": "local", "model": "m"}),
    ],
)
def test_a_factory_not_declared_to_return_a_module_is_not_called(
    own_module: Path, factory: str, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(ConfigError, match=r"is not declared to return a torch\.nn\.Module"):
        imported(factory, **options)
    assert (tmp_path / "mine").read_text() == "mine"
    assert not (tmp_path / "was-called").exists()


def test_a_docstring_may_declare_the_module(own_module: Path) -> None:
    assert imported("own_students:told").num_parameters == 6


def test_an_unknown_option_is_named(own_module: Path) -> None:
    with pytest.raises(ConfigError, match=r"options \{'depth': 3\}.*unexpected keyword argument 'depth'"):
        imported("own_students:Good", depth=3)


def test_trying_a_model_leaves_the_global_generator_alone(own_module: Path) -> None:
    before = torch.random.get_rng_state()
    imported("own_students:Good")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_model_that_sets_torchs_defaults_does_not_disturb_the_program(own_module: Path) -> None:
    before = torch.get_default_dtype(), torch.get_default_device(), torch.get_num_threads()
    model = imported("own_students:Rude")
    x = torch.zeros(2, 1, 2, 3)
    for call in (lambda: model.initialise(x), lambda: model.log_prob(x), lambda: model.sample(2)):
        call()
        assert (torch.get_default_dtype(), torch.get_default_device(), torch.get_num_threads()) == before
    assert torch.zeros(1).device.type == "cpu"


def test_a_model_that_sets_how_torch_computes_does_not_disturb_the_program(own_module: Path) -> None:
    """Once, its own density was refused for it, and every later product had a lower precision."""
    own_module.write_text(
        MODULE
        + """
class Setting(Good):
    def sample(self, n, generator=None):
        torch.set_grad_enabled(False)
        torch.use_deterministic_algorithms(True)
        torch.set_float32_matmul_precision("medium")
        torch.backends.cudnn.benchmark = True
        return super().sample(n, generator)
"""
    )

    def settings() -> list[Any]:
        return [read() for read, _ in _SETTINGS]

    before = settings()
    model = imported("own_students:Setting")
    assert settings() == before
    model.sample(2, torch.Generator())
    assert settings() == before


def test_the_seed_that_a_module_sets_when_imported_does_not_change_the_weights(own_module: Path) -> None:
    """A warm worker has imported the module already: its weights are those of a new process."""
    own_module.write_text(MODULE + "\ntorch.manual_seed(7)\ndef random(shape) -> nn.Module:\n"
                          "    model = Good(shape)\n    nn.init.normal_(model.mean)\n    return model\n")  # fmt: skip
    weights = []
    for _ in range(2):
        torch.manual_seed(0)
        weights.append(imported("own_students:random").inner.get_parameter("mean"))
    assert torch.equal(*weights)


def test_a_model_is_measured_in_evaluation_mode_and_left_in_its_own(own_module: Path) -> None:
    model = imported("own_students:Dropout")
    model.inner.train(False)
    assert model.training
    x = torch.ones(200, 1, 2, 3)
    assert (log_densities(model, x) == log_densities(model, x)[0]).all()
    draw(model, 3, torch.Generator())
    assert (model.training, model.inner.training) == (True, False)
    model.train()
    assert model.log_prob(x).std() > 0


ZUKO = {"name": "NSF", "transforms": 2, "hidden_features": [16, 16], "bins": 4}


@pytest.fixture
def spline() -> ImportedModel:
    torch.manual_seed(0)
    model = imported("nllgen.models.from_zuko:flow", (1, 2, 2), **ZUKO)
    model.initialise(3 + 2 * torch.randn(500, 1, 2, 2))
    return model.double()


def test_zukos_density_is_that_of_its_samples(spline: ImportedModel) -> None:
    """Compare with log N(z) − log|det dx/dz|, where autograd computes the determinant."""
    x = spline.sample(1, torch.Generator().manual_seed(4))
    z = torch.randn(1, 4, generator=torch.Generator().manual_seed(4), dtype=torch.float64)

    def decode(z: Tensor) -> Tensor:
        inner = spline.inner
        assert isinstance(inner, ZukoFlow)
        pixels: Tensor = inner.flow().transform.inv(z) * inner.std + inner.mean
        return pixels.flatten()

    torch.testing.assert_close(decode(z), x.flatten())
    jacobian = torch.autograd.functional.jacobian(decode, z).view(4, 4)  # type: ignore[no-untyped-call]
    base: Tensor = torch.distributions.Normal(0, 1).log_prob(z).sum()  # type: ignore[no-untyped-call]
    expected = base - torch.linalg.slogdet(jacobian).logabsdet
    torch.testing.assert_close(spline.log_prob(x)[0], expected)


def test_zukos_version_is_kept(spline: ImportedModel) -> None:
    found = spline.provenance
    assert found["package:zuko"] == version("zuko")
    source = Path(nllgen.models.from_zuko.__file__).read_bytes()
    assert found["model:nllgen.models.from_zuko:flow"] == hashlib.sha256(source).hexdigest()


def test_an_unknown_zuko_flow_is_named() -> None:
    with pytest.raises(ConfigError, match=r"zuko\.flows has no NFS"):
        imported("nllgen.models.from_zuko:flow", name="NFS")
