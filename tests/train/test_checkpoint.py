"""Checkpoints on disk: the furthest readable one counts."""

import pytest
import torch

from nllgen.errors import CorruptFileError
from nllgen.store.atomic import write_bytes
from nllgen.train.checkpoint import resume, save_checkpoint
from nllgen.train.loop import _step


def stepped(make, steps):
    state = make()
    for _ in range(steps):
        _step(state)
    return state


@pytest.fixture
def make(make_run):
    return make_run("nll")


def test_the_newest_checkpoint_is_resumed(make, tmp_path):
    paths = [tmp_path / "checkpoint.2.pt", tmp_path / "checkpoint.1.pt"]
    save_checkpoint(paths[0], stepped(make, 3), write_bytes)
    save_checkpoint(paths[1], stepped(make, 1), write_bytes)
    assert resume(make, paths, print).step == 3


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_a_truncated_checkpoint_is_named_and_passed_over(make, tmp_path, keep):
    paths = [tmp_path / "checkpoint.2.pt", tmp_path / "checkpoint.1.pt"]
    save_checkpoint(paths[0], stepped(make, 3), write_bytes)
    save_checkpoint(paths[1], stepped(make, 2), write_bytes)
    data = paths[0].read_bytes()
    paths[0].write_bytes(data[: int(keep * len(data))])
    said = []
    assert resume(make, paths, said.append).step == 2
    assert "checkpoint.2.pt" in said[0]


def test_a_checkpoint_that_fails_in_the_middle_of_loading_leaves_no_trace(make, tmp_path):
    path = tmp_path / "checkpoint.1.pt"
    save_checkpoint(path, stepped(make, 3), write_bytes)
    content = torch.load(path, weights_only=True)
    del content["streams"]["noise"]
    torch.save(content, path)
    fresh, state = make(), resume(make, [path], print)
    assert state.step == 0
    for a, b in zip(fresh.flow.parameters(), state.flow.parameters(), strict=True):
        assert torch.equal(a, b)


def test_another_cells_checkpoint_is_not_loaded(make, make_run):
    with pytest.raises(CorruptFileError, match="a checkpoint of cell"):
        make().load_state_dict(make_run("nll", seed=1)().state_dict())


def test_a_checkpoint_of_another_truth_is_not_loaded(make):
    with pytest.raises(CorruptFileError, match="another truth"):
        make().load_state_dict(make().state_dict() | {"truth_sha256": "other"})
