"""Checkpoints on disk: written atomically, read with distrust."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nllgen.data.truth import load_tensors, to_bytes
from nllgen.errors import NllgenError
from nllgen.train.state import TrainState

Write = Callable[[Path, bytes], None]


def save_checkpoint(path: Path, state: TrainState, write: Write) -> None:
    """Replace this attempt's checkpoint by the state as it is."""
    write(path, to_bytes(state.state_dict()))


def resume(make_state: Callable[[], TrainState], paths: list[Path], echo: Callable[[str], None]) -> TrainState:
    """The state of the newest checkpoint that can be read, else a fresh one.

    Args:
        make_state: builds the state of step 0; called once for each try, so that a damaged checkpoint leaves no trace.
        paths: checkpoints of all attempts, newest first; those that cannot be read are named and passed over.
        say: told what was done.
    """
    for path in paths:
        state = make_state()
        try:
            state.load_state_dict(load_tensors(path))
        except NllgenError as error:
            echo(f"passing over {path.name}: {error}")
            continue
        echo(f"resuming at step {state.step} from {path.name}")
        return state
    return make_state()
