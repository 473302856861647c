"""Cells and data as models."""

import hashlib
import json

import pytest
from pydantic import ValidationError

from nllgen.study.config import SCHEMA, Cell, DataConfig, DCGANConfig, FlowConfig, ImportedConfig, NSGANConfig
from nllgen.study.load import load_study
from nllgen.study.sections import MetricsConfig


def _id_of_everything(cell: Cell) -> str:
    """Return the id as the schema defines it: of all fields but the label, as canonical JSON."""
    value = {"schema": SCHEMA, "cell": cell.model_dump(mode="json", exclude={"degree"})}
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest.mark.parametrize("grid", ["demo", "laptop", "misspec", "nash", "hybrid"])
def test_the_id_of_a_cell_is_the_digest_of_all_its_fields_but_the_label(grid: str) -> None:
    cells = load_study(grid, precision="bf16").cells
    assert [cell.id for cell in cells] == [_id_of_everything(cell) for cell in cells]


def test_the_id_of_any_architecture_is_the_digest_of_all_fields() -> None:
    model = ImportedConfig(factory="nllgen.models:RealNVP", options={"ä": [1, None, {"b": "\\"}]})
    for sections in ({"dcgan": DCGANConfig()}, {"model": model}):
        cell = Cell(data=DataConfig(), paradigm=NSGANConfig(), seed=7, start="random", **sections)
        assert cell.id == _id_of_everything(cell)


def test_a_changed_copy_of_a_section_has_its_own_canonical_text() -> None:
    flow = FlowConfig(width=8)
    assert flow.canonical != flow.model_copy(update={"width": 16}).canonical
    assert flow.model_copy(update={"width": 16}) == FlowConfig(width=16)


def test_a_changed_copy_of_a_cell_has_its_own_id() -> None:
    cell = Cell(data=DataConfig(), flow=FlowConfig())
    assert cell.id != cell.model_copy(update={"seed": 1}).id
    assert cell.model_copy(update={"seed": 1}).id == Cell(data=DataConfig(), flow=FlowConfig(), seed=1).id


def test_real_images_are_never_fresh() -> None:
    with pytest.raises(ValidationError, match="fresh needs source: synthetic"):
        DataConfig(source="mnist", num_train="fresh")


def test_the_frechet_distance_is_known_as_fid() -> None:
    metrics = MetricsConfig.model_validate({"every": ["fid"], "final": ["kid", "fid", "frechet"]})
    assert (metrics.every, metrics.final) == (("frechet",), ("kid", "frechet"))
