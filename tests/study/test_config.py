"""Cells and data as models."""

import pytest
from pydantic import ValidationError

from nllgen.study.config import Cell, DataConfig, FlowConfig


def test_a_changed_copy_of_a_cell_has_its_own_id() -> None:
    cell = Cell(data=DataConfig(), flow=FlowConfig())
    assert cell.id != cell.model_copy(update={"seed": 1}).id
    assert cell.model_copy(update={"seed": 1}).id == Cell(data=DataConfig(), flow=FlowConfig(), seed=1).id


def test_real_images_are_never_fresh() -> None:
    with pytest.raises(ValidationError, match="fresh needs source: synthetic"):
        DataConfig(source="mnist", num_train="fresh")
