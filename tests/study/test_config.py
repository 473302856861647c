"""The models themselves."""

from nllgen.study.config import Cell, DataConfig, FlowConfig


def test_a_changed_copy_of_a_cell_has_its_own_id():
    cell = Cell(data=DataConfig(), flow=FlowConfig())
    assert cell.id != cell.model_copy(update={"seed": 1}).id
    assert cell.model_copy(update={"seed": 1}).id == Cell(data=DataConfig(), flow=FlowConfig(), seed=1).id
