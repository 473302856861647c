"""Checkpoints on disk: the newest readable one is resumed."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import torch

from nllgen.data.truth import load_tensors, to_bytes
from nllgen.errors import CorruptFileError, MachineError, StoppedError
from nllgen.storage.atomic import write_bytes
from nllgen.train.checkpoint import resume, save_checkpoint
from nllgen.train.loop import train
from nllgen.train.state import TrainState
from tests.train.runs import MakeRun, MakeState, hooks


def stepped(make: MakeState, steps: int) -> TrainState:
    state = make()
    with contextlib.suppress(StoppedError):
        train(state, hooks(steps, state=state))
    return state


@pytest.fixture
def make(make_run: MakeRun) -> MakeState:
    return make_run("nll")


def test_the_newest_checkpoint_is_resumed(make: MakeState, tmp_path: Path) -> None:
    paths = [tmp_path / "checkpoint.2.pt", tmp_path / "checkpoint.1.pt"]
    save_checkpoint(paths[0], stepped(make, 3), write_bytes)
    save_checkpoint(paths[1], stepped(make, 1), write_bytes)
    assert resume(make, paths, print).step == 3


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_a_truncated_checkpoint_is_named_and_passed_over(make: MakeState, tmp_path: Path, keep: float) -> None:
    paths = [tmp_path / "checkpoint.2.pt", tmp_path / "checkpoint.1.pt"]
    save_checkpoint(paths[0], stepped(make, 3), write_bytes)
    save_checkpoint(paths[1], stepped(make, 2), write_bytes)
    data = paths[0].read_bytes()
    paths[0].write_bytes(data[: int(keep * len(data))])
    said: list[str] = []
    assert resume(make, paths, said.append).step == 2
    assert "checkpoint.2.pt" in said[0]


def test_a_checkpoint_that_was_damaged_within_a_tensor_is_passed_over(make: MakeState, tmp_path: Path) -> None:
    """torch does not detect some of this damage, and the run would end with other bits."""
    path = tmp_path / "checkpoint.1.pt"
    state = stepped(make, 3)
    save_checkpoint(path, state, write_bytes)
    weights = bytes(max(state.flow.parameters(), key=torch.numel).untyped_storage())
    content = path.read_bytes()
    assert content.count(weights) == 1
    for place in range(0, len(weights) - 8, len(weights) // 20):
        at = content.index(weights) + place
        path.write_bytes(content[:at] + bytes(8) + content[at + 8 :])
        assert resume(make, [path], print).step == 0


@pytest.mark.parametrize(("name", "value"), [("step", "3"), ("history", {}), ("train_s", None), ("diverged", 0)])
def test_a_checkpoint_with_a_value_of_another_type_is_damaged(make: MakeState, name: str, value: object) -> None:
    with pytest.raises(CorruptFileError, match=name):
        make().load_state_dict(make().state_dict() | {name: value})


def test_a_checkpoint_of_an_earlier_version_without_a_digest_is_resumed(make: MakeState, tmp_path: Path) -> None:
    torch.save(stepped(make, 3).state_dict(), tmp_path / "checkpoint.1.pt")
    assert resume(make, [tmp_path / "checkpoint.1.pt"], print).step == 3


def test_a_checkpoint_that_fails_in_the_middle_of_loading_leaves_no_trace(make: MakeState, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.1.pt"
    save_checkpoint(path, stepped(make, 3), write_bytes)
    content = load_tensors(path)
    del content["streams"]["noise"]
    path.write_bytes(to_bytes(content))
    fresh, state = make(), resume(make, [path], print)
    assert state.step == 0
    for a, b in zip(fresh.flow.parameters(), state.flow.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error"), MemoryError()]
)
def test_a_checkpoint_that_cannot_be_read_now_is_not_passed_over(
    make: MakeState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Once, training began at step 0, and the checkpoint was deleted unread."""
    path = tmp_path / "checkpoint.1.pt"
    save_checkpoint(path, stepped(make, 3), write_bytes)

    def refuse(path: Path, max_bytes: int) -> bytes:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("nllgen.data.truth.read_regular", refuse)
        with pytest.raises(MachineError, match=r"checkpoint\.1\.pt"):
            resume(make, [path], print)
    assert resume(make, [path], print).step == 3


def test_another_cells_checkpoint_is_not_loaded(make: MakeState, make_run: MakeRun) -> None:
    with pytest.raises(CorruptFileError, match="a checkpoint of cell"):
        make().load_state_dict(make_run("nll", seed=1)().state_dict())


def test_a_checkpoint_of_another_truth_is_not_loaded(make: MakeState) -> None:
    with pytest.raises(CorruptFileError, match="another truth"):
        make().load_state_dict(make().state_dict() | {"truth_sha256": "other"})
