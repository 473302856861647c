"""Types of the fixtures that make runs."""

from __future__ import annotations

from collections.abc import Callable

from nllgen.train.state import TrainState

MakeState = Callable[[], TrainState]
MakeRun = Callable[..., MakeState]
