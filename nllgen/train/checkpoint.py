"""Checkpoints on disk, written atomically and verified when read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nllgen.data.truth import load_tensors, to_bytes
from nllgen.errors import AssetError, CorruptFileError, SchemaError
from nllgen.train.state import TrainState

Write = Callable[[Path, bytes], None]


def save_checkpoint(path: Path, state: TrainState, write: Write) -> None:
    """Replace this attempt's checkpoint by the current state."""
    write(path, to_bytes(state.state_dict()))


def resume(make_state: Callable[[], TrainState], paths: list[Path], echo: Callable[[str], None]) -> TrainState:
    """Return the state of the newest readable checkpoint, or else the state of step 0.

    Args:
        make_state: creates the state of step 0. It is called for each attempt to read a checkpoint, so that a damaged
            one has no effect.
        paths: checkpoints of all attempts, newest first. Damaged ones are named and skipped.
        echo: prints a line.

    Raises:
        MachineError: a checkpoint cannot be read now; it may be whole, and starting at step 0 would lose it.
    """
    for path in paths:
        state = make_state()
        try:
            state.load_state_dict(load_tensors(path))
        except (CorruptFileError, SchemaError, AssetError) as error:
            echo(f"skipping {path.name}: {error}")
            continue
        echo(f"resuming at step {state.step} from {path.name}")
        return state
    return make_state()
